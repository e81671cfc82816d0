package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// by returns the key of the nth request. Ids decrease with time.
func by(n int) order.Key { return order.New(time.UnixMicro(int64(n)), int64(1000-n)) }

func putBy(t *testing.T, b *Books, n int, r *Record) (*tiebackv1.Booking, error) {
	t.Helper()
	res, err := b.Put(t.Context(), &tiebackv1.PutRequest{Key: fmt.Sprintf("%v/%d", r.Entity, n), Request: by(n).Request(), Order: string(by(n)), OrderLatest: string(by(n).Latest()), Record: r})
	return res.GetBooking(), err
}

func removeBy(t *testing.T, b *Books, n int, origin string) error {
	t.Helper()
	_, err := b.Remove(t.Context(), &tiebackv1.RemoveRequest{Entity: Vendor, OriginId: origin, Order: string(by(n)), OrderLatest: string(by(n).Latest())})
	return err
}

func refusedAsSuperseded(t *testing.T, err error) {
	t.Helper()
	if fault.ClassOf(err) != fault.Permanent || fault.Field(err) != "request" {
		t.Errorf("%v: want a refusal of the request", err)
	}
}

func TestOlderRequestOverwritesNothing(t *testing.T) {
	b := open(t, t.TempDir())
	first, err := putBy(t, b, 1, &Record{Entity: Vendor, Name: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := putBy(t, b, 3, &Record{Entity: Vendor, OriginId: first.OriginId, Name: "three"}); err != nil {
		t.Fatal(err)
	}
	_, err = putBy(t, b, 2, &Record{Entity: Vendor, OriginId: first.OriginId, Name: "two"})
	refusedAsSuperseded(t, err)
	refusedAsSuperseded(t, removeBy(t, b, 2, first.OriginId))
	if r, err := b.Get(t.Context(), Vendor, first.OriginId); err != nil || r.Name != "three" {
		t.Errorf("%v, %v", r, err)
	}
	for range 2 {
		if err := removeBy(t, b, 4, first.OriginId); err != nil {
			t.Error(err)
		}
	}
}

// Procore sends only the new transactions of a budget. So those of a superseded request are added, and the other fields
// are left as the newer request wrote them.
func TestTransactionsOfALateBudgetAreAdded(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	line := func(id int64, amount string) *tiebackv1.Line {
		return &tiebackv1.Line{ProcoreId: id, Kind: "erp_transaction", Amount: amount, CostCodeOriginId: s.costCode, CategoryOriginId: s.category}
	}
	budget := func(origin, name string, lines ...*tiebackv1.Line) *Record {
		return &Record{Entity: Budget, OriginId: origin, ProcoreId: 9, Name: name, JobOriginId: s.job, Lines: lines}
	}
	first, err := putBy(t, b, 1, budget("", "one", line(1, "10.00")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := putBy(t, b, 3, budget(first.OriginId, "three", line(3, "30.00"))); err != nil {
		t.Fatal(err)
	}
	late, err := putBy(t, b, 2, budget(first.OriginId, "two", line(2, "20.00"), line(3, "99.00")))
	if err != nil || len(late.LineOriginIds) != 2 {
		t.Fatalf("%v, %v", late, err)
	}
	r, err := b.Get(t.Context(), Budget, first.OriginId)
	if err != nil || r.Name != "three" || len(r.Lines) != 3 {
		t.Fatalf("%v, %v", r, err)
	}
	if r.Lines[1].Amount != "30.00" || r.Lines[2].Amount != "20.00" {
		t.Error(r.Lines)
	}
	balanced(t, b)
}
