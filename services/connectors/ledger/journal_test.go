package ledger

import (
	"fmt"
	"maps"
	"testing"

	"github.com/tieback/tieback/pkg/connector"
)

func TestEveryDocumentBalancesAndReverses(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	base := totals(t, b)
	req := add(t, b, s.requisition("1000", "100")).OriginId
	for name, c := range map[string]struct {
		rec  *Record
		want map[Account]string // what changes
	}{
		"requisition withholds retainage": {s.requisition("100", "10"), map[Account]string{JobCosts: "1100", Payable: "-990", RetainagePayable: "-110"}},
		"payment of a requisition":        {&Record{Entity: Payment, ParentOriginId: req, Amount: "12.34"}, map[Account]string{Payable: "-887.66", Cash: "-12.34"}},
		"payment application": {&Record{Entity: PaymentApplication, ContractOriginId: s.prime, Lines: []*Line{{Amount: "500", Retainage: "50", TaxAmount: "5"}}},
			map[Account]string{Receivable: "455", RetainageReceivable: "50", Revenue: "-500", OutputTax: "-5"}},
		"direct cost of two cents that floats get wrong": {&Record{Entity: DirectCost, Lines: []*Line{s.line("0.1"), s.line("0.2")}}, map[Account]string{JobCosts: "1000.3", Payable: "-900.3"}},
		"credit note, negative":                          {&Record{Entity: DirectCost, Lines: []*Line{s.line("-70.000001")}}, map[Account]string{JobCosts: "929.999999", Payable: "-829.999999"}},
		"a long amount":                                  {&Record{Entity: DirectCost, Amount: "900719925474099.31"}, map[Account]string{JobCosts: "900719925475099.31", Payable: "-900719925474999.31"}},
		"change order":                                   {&Record{Entity: CommitmentChangeOrder, ContractOriginId: s.contract, Lines: []*Line{s.line("50")}}, map[Account]string{Committed: "300", CommittedControl: "-300"}},
		"prime contract change order": {&Record{Entity: PrimeContractChangeOrder, ContractOriginId: s.prime, Lines: []*Line{{Amount: "299"}, {Amount: "44.85", Kind: "markup"}}},
			map[Account]string{ContractValue: "1343.85", ContractControl: "-1343.85"}},
		"nothing to book": {&Record{Entity: DirectCost, Amount: "0.00"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			want := maps.Clone(base)
			maps.Copy(want, map[Account]string{JobCosts: "1000", Payable: "-900", RetainagePayable: "-100"})
			before := maps.Clone(want)
			maps.Copy(want, c.want)
			r := add(t, b, c.rec)
			if got := totals(t, b); !maps.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			for range 2 {
				if err := b.Delete(t.Context(), r.Entity, r.OriginId); err != nil {
					t.Fatal(err)
				}
			}
			if got := totals(t, b); !maps.Equal(got, before) {
				t.Errorf("after the reversal %v\nwant %v", got, before)
			}
			balanced(t, b)
		})
	}
	r, err := b.Get(t.Context(), Requisition, req)
	if err != nil || r.JobOriginId != s.job || r.VendorOriginId != s.vendor {
		t.Errorf("a requisition is of its contract's job and vendor: %v, %v", r, err)
	}
}

func TestJobCostsFollowTheJournal(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	id := connector.AssignmentID(s.costCode, s.category)
	check := func(budget, actual string) {
		t.Helper()
		got, err := b.Get(t.Context(), JobCost, id)
		if err != nil || got.Amount != budget || got.ActualAmount != actual || got.JobOriginId != s.job {
			t.Errorf("job cost %v, %v; want %s and %s", got, err, budget, actual)
		}
	}
	check("0", "0")
	add(t, b, &Record{Entity: Budget, JobOriginId: s.job, Lines: []*Line{s.line("500")}})
	req := add(t, b, s.requisition("100.10", "10"))
	check("500", "100.1")
	req.Lines[0].Amount = "50"
	if _, err := b.Update(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	check("500", "50")
	add(t, b, &Record{Entity: JobCost, CostCodeOriginId: s.costCode, CategoryOriginId: s.category, ActualAmount: "80"})
	check("500", "80")
	if err := b.Delete(t.Context(), Requisition, req.OriginId); err != nil {
		t.Fatal(err)
	}
	check("500", "30")
	balanced(t, b)
}

func TestJournalEntriesOfARecord(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	r := s.requisition("0.1", "")
	r.ProcoreId = 9007199254740993
	first := put(t, b, "k1", r)
	twin := s.requisition("0.1", "")
	twin.ProcoreId = r.ProcoreId
	put(t, b, "k2", twin)
	gone := put(t, b, "k3", s.requisition("5", ""))
	if err := b.Delete(t.Context(), Requisition, gone.OriginId); err != nil {
		t.Fatal(err)
	}
	got := map[string]Booking{}
	for booking, err := range b.Bookings(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[booking.Record.OriginId] = booking
	}
	one := got[first.OriginId]
	if one.Amount.String() != "0.1" || fmt.Sprint(one.Keys) != "[k1]" || one.Record.ProcoreId != 9007199254740993 || one.Deleted {
		t.Errorf("booking %+v", one)
	}
	if d := got[gone.OriginId]; !d.Deleted || !d.Amount.IsZero() || d.Entries != 2 {
		t.Errorf("deleted booking %+v", d)
	}
	twice, err := b.Duplicates(t.Context())
	if err != nil || len(twice) != 1 || twice[0].ProcoreID != 9007199254740993 || len(twice[0].OriginIDs) != 2 {
		t.Errorf("doubles %v, %v", twice, err)
	}
}

func TestBalancedFindsChangedBooks(t *testing.T) {
	b := open(t, t.TempDir())
	build(t, b)
	if _, err := b.reader.ExecContext(t.Context(), "UPDATE postings SET amount = '251' WHERE amount = '250'"); err != nil {
		t.Fatal(err)
	}
	if err := b.Balanced(t.Context()); err == nil {
		t.Error("Balanced returned no error")
	}
}
