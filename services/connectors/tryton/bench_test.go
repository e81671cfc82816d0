package tryton_test

import (
	"fmt"
	"testing"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// BenchmarkPut books from four concurrent clients. Each write is synced to disk.
//
//	go test -run '^$' -bench . -benchtime 5s ./services/connectors/tryton/
func BenchmarkPut(b *testing.B) {
	w := benchWorld(b)
	contract := w.mustPut(b, w.purchase(2))
	for _, bb := range []struct {
		name string
		make func() *tiebackv1.Record
	}{
		{"vendor", func() *tiebackv1.Record { return &tiebackv1.Record{Entity: vendor, Name: "Acme"} }},
		{"commitment of 10 lines", func() *tiebackv1.Record { return w.purchase(10) }},
		{"requisition of 3 lines", func() *tiebackv1.Record {
			r := w.purchase(3)
			r.Entity, r.ContractOriginId = requisition, contract
			return r
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetParallelism(2)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					w.mustPut(b, bb.make())
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkList(b *testing.B) {
	w := benchWorld(b)
	for range 200 {
		w.mustPut(b, &tiebackv1.Record{Entity: vendor, Name: "Acme"})
	}
	n := 0
	for b.Loop() {
		a, err := w.driver.List(b.Context(), &tiebackv1.ListRequest{CompanyId: company, Entity: vendor, Limit: 200})
		if err != nil {
			b.Fatal(err)
		}
		n += len(a.Changes)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

func benchWorld(b *testing.B) *world {
	b.Helper()
	w := &world{}
	ok := false
	b.Run("set up", func(b *testing.B) { // a world wants a testing.T for its helpers; a benchmark has none
		s, err := theServer()
		if err != nil {
			b.Skip(err)
		}
		if w.driver, err = openOn(b.Context(), s); err != nil {
			b.Fatal(err)
		}
		w.vendor = w.mustPut(b, &tiebackv1.Record{Entity: vendor, Name: "Acme Steel"})
		w.job = w.mustPut(b, &tiebackv1.Record{Entity: job, Name: "Tower", Code: unique("J")})
		w.code = w.mustPut(b, &tiebackv1.Record{Entity: costCode, Name: "Steel", Code: "05-100", JobOriginId: w.job})
		w.category = w.mustPut(b, &tiebackv1.Record{Entity: category, Name: "Materials", Code: unique("M")})
		ok = true
	})
	if !ok {
		b.SkipNow()
	}
	return w
}

func (w *world) mustPut(b *testing.B, r *tiebackv1.Record) string {
	a, err := w.driver.Put(b.Context(), w.request(r))
	if err != nil {
		b.Error(fmt.Errorf("put: %w", err))
		return ""
	}
	return a.Booking.OriginId
}
