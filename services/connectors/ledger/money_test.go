package ledger

import (
	"errors"
	"maps"
	"strings"
	"testing"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// moved returns what a record changes in the trial balance.
func moved(t *testing.T, b *Books, r *Record) map[Account]string {
	t.Helper()
	before := totals(t, b)
	add(t, b, r)
	after := totals(t, b)
	maps.DeleteFunc(after, func(a Account, s string) bool { return before[a] == s })
	return after
}

func (s site) taxed(e Entity, contract string, l *Line) *Record {
	return &Record{Entity: e, ContractOriginId: contract, JobOriginId: s.job, VendorOriginId: s.vendor, Lines: []*Line{l}}
}

func TestTaxAndRetainageHaveTheirOwnAccounts(t *testing.T) {
	for name, c := range map[string]struct {
		rec  func(s site) *Record
		want map[Account]string
	}{
		"commitment": {func(s site) *Record {
			return s.taxed(Commitment, "", &Line{Amount: "100", TaxAmount: "10", TaxCodeOriginId: "GST"})
		},
			map[Account]string{Committed: "350", CommittedTax: "10", CommittedControl: "-360"}},
		"change order": {func(s site) *Record {
			return s.taxed(CommitmentChangeOrder, s.contract, &Line{Amount: "-100", TaxAmount: "-10"})
		}, map[Account]string{Committed: "150", CommittedTax: "-10", CommittedControl: "-140"}},
		"prime contract change order": {func(s site) *Record {
			return s.taxed(PrimeContractChangeOrder, s.prime, &Line{Amount: "299", TaxAmount: "12.71"})
		},
			map[Account]string{ContractValue: "1299", ContractTax: "12.71", ContractControl: "-1311.71"}},
		"invoice": {func(s site) *Record {
			return s.taxed(Requisition, s.contract, &Line{Amount: "100", TaxAmount: "10", Retainage: "5"})
		},
			map[Account]string{JobCosts: "100", InputTax: "10", RetainagePayable: "-5", Payable: "-105"}},
		"invoice whose tax is on no line": {func(s site) *Record {
			r := s.taxed(Requisition, s.contract, &Line{Amount: "100", TaxCodeOriginId: "GST"})
			r.TaxAmount = "10.00"
			return r
		}, map[Account]string{JobCosts: "100", InputTax: "10", Payable: "-110"}},
		"bill": {func(s site) *Record {
			return s.taxed(PaymentApplication, s.prime, &Line{Amount: "100", TaxAmount: "10", Retainage: "5"})
		},
			map[Account]string{Revenue: "-100", OutputTax: "-10", RetainageReceivable: "5", Receivable: "105"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, t.TempDir())
			s := build(t, b)
			if got := moved(t, b, c.rec(s)); !maps.Equal(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
			balanced(t, b)
		})
	}
}

// A tax or retainage that the ledger has no account for is refused, and nothing is booked.
func TestAmountsWithoutAnAccountAreRefused(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	for name, c := range map[string]struct {
		rec   *Record
		field string
		says  string
	}{
		"tax code without amount":   {s.taxed(Requisition, s.contract, &Line{Amount: "100", TaxCodeOriginId: "GST"}), "tax", `the tax code "GST" and no tax amount`},
		"tax of a payment":          {&Record{Entity: Payment, Amount: "5", TaxAmount: "1"}, "tax", "books none for a payment"},
		"retainage of a commitment": {s.taxed(Commitment, "", &Line{Amount: "100", Retainage: "5"}), "retainage", "a retainage of 5"},
		"a percentage of 110":       {&Record{Entity: Commitment, JobOriginId: s.job, VendorOriginId: s.vendor, RetainagePercent: "110"}, "retainage", `"110"`},
		"a percentage of a payment": {&Record{Entity: Payment, Amount: "5", RetainagePercent: "10"}, "retainage", "10 percent"},
	} {
		t.Run(name, func(t *testing.T) {
			before := totals(t, b)
			_, err := b.Add(t.Context(), c.rec)
			if says := refusal(t, err, c.field); !strings.Contains(says, c.says) {
				t.Errorf("%q does not say %q", says, c.says)
			}
			if !maps.Equal(before, totals(t, b)) {
				t.Error("something was booked")
			}
		})
	}
	kept := add(t, b, &Record{Entity: Commitment, JobOriginId: s.job, VendorOriginId: s.vendor, RetainagePercent: "10.0"})
	if kept.RetainagePercent != "10.0" {
		t.Errorf("retainage percent %q", kept.RetainagePercent)
	}
}

func TestCurrenciesAreKeptApart(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	in := func(currency string, r *Record) *Record { r.Currency = currency; return r }
	add(t, b, s.requisition("100", ""))            // no currency: the company's
	add(t, b, in("USD", s.requisition("20", "1"))) // the company's by its name
	for name, c := range map[string]struct{ rec *Record }{
		"job cost":           {in("CAD", &Record{Entity: DirectCost, Lines: []*Line{s.line("100")}})},
		"budget":             {in("CAD", &Record{Entity: Budget, JobOriginId: s.job, Lines: []*Line{s.line("100")}})},
		"job cost by hand":   {in("CAD", &Record{Entity: JobCost, CostCodeOriginId: s.costCode, CategoryOriginId: s.category, ActualAmount: "120"})},
		"invoice":            {in("CAD", &Record{Entity: Requisition, ContractOriginId: s.contract, Lines: []*Line{{Amount: "100"}}})},
		"change order":       {in("CAD", &Record{Entity: CommitmentChangeOrder, ContractOriginId: s.contract, Lines: []*Line{{Amount: "100"}}})},
		"bill":               {in("CAD", &Record{Entity: PaymentApplication, ContractOriginId: s.prime, Amount: "100"})},
		"prime change order": {in("CAD", &Record{Entity: PrimeContractChangeOrder, ContractOriginId: s.prime, Amount: "100"})},
	} {
		_, err := b.Add(t.Context(), c.rec)
		if says := refusal(t, err, "currency"); !strings.Contains(says, "CAD") || !strings.Contains(says, "USD") {
			t.Errorf("%s: %s", name, says)
		}
	}

	canadian := add(t, b, in("CAD", &Record{Entity: Commitment, JobOriginId: s.job, VendorOriginId: s.vendor, Lines: []*Line{s.line("70")}}))
	invoice := add(t, b, &Record{Entity: Requisition, ContractOriginId: canadian.OriginId, Lines: []*Line{{Amount: "50"}}})
	paid := add(t, b, &Record{Entity: Payment, ParentOriginId: invoice.OriginId, Amount: "50"})
	if invoice.Currency != "CAD" || paid.Currency != "CAD" {
		t.Errorf("an invoice in %q and a payment in %q of a contract in CAD", invoice.Currency, paid.Currency)
	}
	changed := in("EUR", canadian)
	_, err := b.Update(t.Context(), changed)
	refusal(t, err, "currency")

	got := map[string]string{}
	all, err := b.TrialBalance(t.Context())
	for _, a := range all {
		if a.Account == JobCosts || a.Account == Cash {
			got[a.Currency] += a.Amount.String() + " "
		}
	}
	if err != nil || got["USD"] != "120 " || len(strings.Fields(got["CAD"])) != 2 {
		t.Errorf("job costs and cash by currency: %v, error %v", got, err)
	}
	balanced(t, b)
}

// A job cost may get another currency after all its postings in the first one are reversed.
func TestCurrencyOfAJobCostWithoutPostings(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	req := add(t, b, s.requisition("100", ""))
	if err := b.Delete(t.Context(), Requisition, req.OriginId); err != nil {
		t.Fatal(err)
	}
	add(t, b, &Record{Entity: DirectCost, Currency: "CAD", Lines: []*Line{s.line("100")}})
	got := add(t, b, &Record{Entity: JobCost, CostCodeOriginId: s.costCode, CategoryOriginId: s.category})
	if got.Currency != "CAD" || got.ActualAmount != "100" {
		t.Errorf("%v", got)
	}
	balanced(t, b)
}

func TestBalancedFindsMixedCurrencies(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	add(t, b, s.requisition("100", ""))
	add(t, b, s.requisition("50", ""))
	balanced(t, b)
	if _, err := b.reader.ExecContext(t.Context(), "UPDATE entries SET currency = 'CAD' WHERE amount = '100'"); err != nil {
		t.Fatal(err)
	}
	if err := b.Balanced(t.Context()); !errors.Is(err, ErrUnbalanced) {
		t.Errorf("a job cost with 100 CAD and 50 USD: %v", err)
	}
}

func TestTheCompanysOwnCurrency(t *testing.T) {
	l := Open(t.TempDir())
	defer l.Close()
	in := func(currency string) (*Books, error) {
		d, err := l.Opener()(t.Context(), company, map[string]string{"currency": currency})
		if err != nil {
			return nil, err
		}
		b := d.(*Books)
		t.Cleanup(func() { _ = b.Close() })
		return b, nil
	}
	if _, err := in("dollars"); err == nil {
		t.Error("opened in dollars")
	}
	b, err := in("CAD")
	if err != nil {
		t.Fatal(err)
	}
	caps, err := b.Capabilities(t.Context(), &tiebackv1.CapabilitiesRequest{})
	if err != nil || caps.Currency != "CAD" {
		t.Errorf("currency %q, error %v", caps.GetCurrency(), err)
	}
	s := build(t, b)
	add(t, b, s.requisition("100", ""))
	r := s.requisition("5", "")
	r.Currency = "CAD"
	add(t, b, r)
	if all, err := b.Currencies(t.Context()); err != nil || strings.Join(all, " ") != "CAD" {
		t.Errorf("currencies %v, error %v", all, err)
	}
	_, err = in("USD")
	refusal(t, err, "connector.currency")
}
