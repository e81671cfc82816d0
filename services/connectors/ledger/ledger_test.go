package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

type Line = tiebackv1.Line

func TestMain(m *testing.M) {
	if dir := os.Getenv(bookUntilKilled); dir != "" {
		bookInto(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

const company = 42

// open returns the books in dir. They are closed after the test.
func open(t testing.TB, dir string) *Books {
	t.Helper()
	l := Open(dir)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	b, err := l.Company(t.Context(), company)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, b *Books, key string, r *Record) *tiebackv1.Booking {
	t.Helper()
	res, err := b.Put(t.Context(), &tiebackv1.PutRequest{CompanyId: company, Key: key, Record: r})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return res.Booking
}

func add(t testing.TB, b *Books, r *Record) *Record {
	t.Helper()
	got, err := b.Add(t.Context(), r)
	if err != nil {
		t.Fatalf("add %v: %v", r, err)
	}
	return got
}

// site has the origin ids of a job and of the records that a document may refer to.
type site struct{ job, vendor, costCode, category, contract, prime string }

func build(t testing.TB, b *Books) site {
	t.Helper()
	var s site
	s.vendor = add(t, b, &Record{Entity: Vendor, Name: "Stahl & Söhne 鋼鉄"}).OriginId
	s.job = add(t, b, &Record{Entity: Job, Name: "Bridge", Code: "JOB-1"}).OriginId
	s.category = add(t, b, &Record{Entity: StandardCategory, Name: "Material", Code: "M"}).OriginId
	s.costCode = add(t, b, &Record{Entity: CostCode, Name: "Steel", Code: "05-100", JobOriginId: s.job}).OriginId
	add(t, b, &Record{Entity: CostTypeAssignment, CostCodeOriginId: s.costCode, CategoryOriginId: s.category})
	s.contract = add(t, b, s.commitment("250.00")).OriginId
	s.prime = add(t, b, &Record{Entity: PrimeContract, JobOriginId: s.job, Amount: "1000"}).OriginId
	return s
}

func (s site) line(amount string) *Line {
	return &Line{Amount: amount, CostCodeOriginId: s.costCode, CategoryOriginId: s.category}
}

func (s site) commitment(amounts ...string) *Record {
	r := &Record{Entity: Commitment, JobOriginId: s.job, VendorOriginId: s.vendor, Kind: "purchase_order_contract"}
	for _, a := range amounts {
		r.Lines = append(r.Lines, s.line(a))
	}
	return r
}

// invoices counts the invoices, whose numbers are unique for a vendor.
var invoices atomic.Int64

func (s site) requisition(amount, retainage string) *Record {
	l := s.line(amount)
	l.Retainage, l.ContractLineOriginId = retainage, s.contract+"-1"
	return &Record{Entity: Requisition, ContractOriginId: s.contract, Number: fmt.Sprint("INV-", invoices.Add(1)), Lines: []*Line{l}}
}

// refusal checks that err is a permanent error about a field, and returns its message.
func refusal(t testing.TB, err error, field string) string {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Class != fault.Permanent || f.UserMessage == "" {
		t.Fatalf("want a refusal with a message, got %v", err)
	}
	if f.Field != field {
		t.Errorf("refused field %q, want %q: %s", f.Field, field, f.UserMessage)
	}
	return f.UserMessage
}

func balanced(t testing.TB, b *Books) {
	t.Helper()
	if err := b.Balanced(context.Background()); err != nil {
		t.Errorf("balanced: %v", err)
	}
}

// totals sums the trial balance by account, over all currencies.
func totals(t testing.TB, b *Books) map[Account]string {
	t.Helper()
	all, err := b.TrialBalance(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[Account]string{}
	for _, a := range all {
		if !a.Amount.IsZero() {
			out[a.Account] = a.Amount.String()
		}
	}
	return out
}

func equal(t testing.TB, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTraitsAreInContractOrder(t *testing.T) {
	if want := len(tiebackv1.Entity_name) - 1; len(Entities()) != want {
		t.Fatalf("%d entities, the contract has %d", len(Entities()), want)
	}
	for _, e := range Entities() {
		if tr, ok := traitOf(e); !ok || tr.entity != e {
			t.Errorf("trait of %v is that of %v", e, tr.entity)
		}
		for _, s := range []string{EntityName(e), Title(e) + "s"} {
			if got, err := ParseEntity(s); err != nil || got != e {
				t.Errorf("ParseEntity(%q) = %v, %v; want %v", s, got, err, e)
			}
		}
	}
	if _, err := ParseEntity("vender"); err == nil {
		t.Error("a typo is accepted as an entity")
	}
}

func TestOpeningTwiceSharesOneHandle(t *testing.T) {
	l := Open(t.TempDir())
	one, err := l.Opener()(t.Context(), company, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := l.Company(t.Context(), company)
	if err != nil {
		t.Fatal(err)
	}
	if one.(*Books).store != two.store {
		t.Error("two handles on one file")
	}
	for range 2 { // closing the first one twice must not close the second one
		if err := one.Close(); err != nil {
			t.Fatal(err)
		}
	}
	add(t, two, &Record{Entity: Vendor, Name: "still open"})
	if err := errors.Join(two.Close(), l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Add(t.Context(), &Record{Entity: Vendor, Name: "x"}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := two.All(t.Context(), Vendor); !errors.Is(err, ErrClosed) {
		t.Errorf("reading after Close: %v", err)
	}
	if _, err := l.Company(t.Context(), company); !errors.Is(err, ErrClosed) {
		t.Errorf("opening after Close: %v", err)
	}
	if _, err := Open(t.TempDir()).Opener()(t.Context(), company, map[string]string{"colour": "red"}); err == nil {
		t.Error("an unknown setting is accepted")
	}
}

func TestAnotherCompanysRequestIsRefused(t *testing.T) {
	b := open(t, t.TempDir())
	_, err := b.Put(t.Context(), &tiebackv1.PutRequest{CompanyId: company + 1, Key: "k", Record: &Record{Entity: Vendor, Name: "x"}})
	if fault.ClassOf(err) != fault.Permanent {
		t.Errorf("got %v", err)
	}
}
