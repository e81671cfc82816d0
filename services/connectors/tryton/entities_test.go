package tryton_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"google.golang.org/protobuf/proto"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// documents returns documents of each entity. Each may refer to those before it.
func documents(w *world) []*tiebackv1.Record {
	line := func(amount string) *tiebackv1.Line {
		return &tiebackv1.Line{ProcoreId: serial.Add(1), Description: "Beams", Amount: amount, JobOriginId: w.job,
			CostCodeOriginId: w.code, CategoryOriginId: w.category, Position: 1}
	}
	measured := line("33.33")
	measured.Quantity, measured.UnitCost, measured.Unit = "3", "11.11", "t"
	inexact := line("10.00")
	inexact.Quantity, inexact.UnitCost = "3", "3.333"
	withheld := line("1000.10")
	withheld.Retainage, withheld.TaxAmount, withheld.TaxCodeOriginId = "100.01", "82.51", "GST"
	taxed := line("50.00")
	taxed.TaxAmount, taxed.TaxCodeOriginId = "2.50", "GST"
	return []*tiebackv1.Record{
		{Entity: commitment, Name: "Steel", Code: unique("PO"), Kind: "purchase_order_contract", JobOriginId: w.job, VendorOriginId: w.vendor,
			Date: "2026-03-31", Status: "approved", RetainagePercent: "10.0", Lines: []*tiebackv1.Line{measured, inexact, line("-0.01"), line("99999999.99")}},
		{Entity: changeOrder, Name: "Less steel", Lines: []*tiebackv1.Line{line("-500.55")}},
		{Entity: requisition, Number: "INV-1", Date: "2026-04-30", Lines: []*tiebackv1.Line{withheld, line("0.07")}},
		{Entity: payment, Number: "1001", Date: "2026-05-15", Amount: "400.00"},
		{Entity: payment, Number: "1002", Date: "2026-05-16", Amount: "582.67"},
		{Entity: prime, Name: "Tower", Code: unique("PC"), JobOriginId: w.job, Lines: []*tiebackv1.Line{line("5000000.00")}},
		{Entity: primeChange, Name: "Taller", TaxAmount: "0.62", Lines: []*tiebackv1.Line{line("12.34"), taxed}},
		{Entity: application, Number: "APP-1", Date: "2026-04-30", Lines: []*tiebackv1.Line{withheld}},
		{Entity: directCost, Name: "Crane hire", Kind: "invoice", VendorOriginId: w.vendor, Date: "2026-04-02", Lines: []*tiebackv1.Line{line("77.70")}},
		{Entity: directCost, Name: "Petty cash", Date: "2026-04-02", Amount: "12.50", TaxAmount: "1.25"},
	}
}

// link sets the references of a document to the booked ones before it.
func link(r *tiebackv1.Record, booked map[tiebackv1.Entity]*tiebackv1.Booking) {
	switch r.Entity {
	case changeOrder:
		r.ContractOriginId = booked[commitment].OriginId
	case requisition:
		r.ContractOriginId = booked[commitment].OriginId
		r.Lines[0].ContractLineOriginId = booked[commitment].LineOriginIds[3]
		r.Lines[1].ContractLineOriginId = booked[changeOrder].LineOriginIds[0]
	case payment:
		r.ParentOriginId, r.ContractOriginId = booked[requisition].OriginId, booked[commitment].OriginId
	case primeChange, application:
		r.ContractOriginId = booked[prime].OriginId
	}
}

// Every document is listed as it was put, to the cent. They are removed in the reverse order.
func TestEachDocumentEndToEnd(t *testing.T) {
	w := newWorld(t)
	type done struct {
		r *tiebackv1.Record
		b *tiebackv1.Booking
	}
	var all []done
	booked := map[tiebackv1.Entity]*tiebackv1.Booking{}
	for _, r := range documents(w) {
		r = proto.CloneOf(r)
		link(r, booked)
		b := w.put(r)
		booked[r.Entity] = b
		all = append(all, done{r, b})
		if b.Stamp != "10:abc" || len(b.LineOriginIds) != len(r.Lines) || b.OriginCode == "" {
			t.Errorf("%v booked as %v", r, b)
		}
	}
	for _, d := range all {
		got, _ := w.list(d.r.Entity, "", 2)
		c := got[d.b.OriginId]
		if c == nil || c.Deleted {
			t.Fatalf("%v is not listed: %v", d.r, c)
		}
		w.same(c.Record, d.r, d.b)
	}
	costs, _ := w.list(jobCost, "", 0)
	if c := costs[w.code+"|"+w.category]; c == nil || !equal(c.Record.ActualAmount, "77.77") && !equal(c.Record.ActualAmount, "1077.87") {
		t.Errorf("job cost %v", c)
	}
	for i := len(all) - 1; i >= 0; i-- {
		d := all[i]
		for range 2 {
			if err := w.remove(d.r.Entity, d.b.OriginId); err != nil {
				t.Fatalf("remove %v: %v", d.r, err)
			}
		}
		if s := w.state(d.r.Entity, d.b.OriginId); s != deleted {
			t.Errorf("%v is %v after it was removed", d.r, s)
		}
		again, err := w.driver.Put(t.Context(), w.request(d.r))
		if err != nil || !proto.Equal(again.Booking, d.b) {
			t.Errorf("the same key after the removal: %v, %v, want %v", again, err, d.b)
		}
	}
	if err := w.remove(job, w.job); err != nil {
		t.Error(err)
	}
	costs, _ = w.list(jobCost, "", 0)
	if c := costs[w.code+"|"+w.category]; c == nil || !c.Deleted || c.Record.JobOriginId != w.job {
		t.Errorf("job cost of a removed job: %v", c)
	}
}

// same compares a listed record with the one that was put.
func (w *world) same(got, want *tiebackv1.Record, b *tiebackv1.Booking) {
	w.Helper()
	want = proto.CloneOf(want)
	want.OriginId = b.OriginId
	if got.ProcoreId != want.ProcoreId || got.Name != want.Name && want.Name != "" || got.Code != want.Code && want.Code != "" ||
		got.Kind != want.Kind || want.Date != "" && got.Date != want.Date || want.Number != "" && got.Number != want.Number || got.Status != want.Status {
		w.Errorf("listed %v, put %v", got, want)
	}
	if want.ContractOriginId != got.ContractOriginId || want.JobOriginId != "" && got.JobOriginId != want.JobOriginId {
		w.Errorf("listed %v, put %v", got, want)
	}
	if want.Amount != "" && !equal(got.Amount, want.Amount) || len(got.Lines) != len(want.Lines) {
		w.Fatalf("listed %v, put %v", got, want)
	}
	for i, l := range want.Lines {
		l = proto.CloneOf(l)
		l.OriginId = b.LineOriginIds[i]
		if !proto.Equal(got.Lines[i], l) {
			w.Errorf("line %d: listed %v, put %v", i, got.Lines[i], l)
		}
	}
}

func equal(a, b string) bool {
	x, err1 := decimal.NewFromString(a)
	y, err2 := decimal.NewFromString(b)
	return err1 == nil && err2 == nil && x.Equal(y)
}
