package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func TestSameKeyBooksOnce(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	s := build(t, b)
	first := put(t, b, "k", s.commitment("1", "2"))
	if want := []string{first.OriginId + "-1", first.OriginId + "-2"}; fmt.Sprint(first.LineOriginIds) != fmt.Sprint(want) {
		t.Errorf("lines %v, want %v", first.LineOriginIds, want)
	}
	equal(t, put(t, b, "k", s.commitment("9", "9", "9")), first)

	// Another process, after a crash, answers the same.
	other := open(t, dir)
	equal(t, put(t, other, "k", s.commitment("1", "2")), first)
	found, err := other.Find(t.Context(), &tiebackv1.FindRequest{CompanyId: company, Key: "k", Entity: Commitment})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, found.Booking, first)
	for _, req := range []*tiebackv1.FindRequest{{Key: "unknown", Entity: Commitment}, {Key: "k", Entity: Vendor}} {
		if found, err := b.Find(t.Context(), req); err != nil || found.Booking != nil {
			t.Errorf("find %v: %v, %v", req, found, err)
		}
	}

	// Deleted: the key still answers and books nothing.
	if err := b.Delete(t.Context(), Commitment, first.OriginId); err != nil {
		t.Fatal(err)
	}
	equal(t, put(t, b, "k", s.commitment("1", "2")), first)
	if again := put(t, b, "k/again", s.commitment("1", "2")); again.OriginId == first.OriginId {
		t.Error("an origin id was used twice")
	}
	balanced(t, b)
}

func TestSameKeyConcurrently(t *testing.T) {
	dir := t.TempDir()
	books := []*Books{open(t, dir), open(t, dir)} // two handles: as if two processes
	s := build(t, books[0])
	got := make([]*tiebackv1.Booking, 100)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			res, err := books[i%2].Put(context.Background(), &tiebackv1.PutRequest{Key: "k", Record: s.requisition("100", "10")})
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = res.Booking
		})
	}
	wg.Wait()
	for _, g := range got {
		equal(t, g, got[0])
	}
	if all, err := books[0].All(t.Context(), Requisition); err != nil || len(all) != 1 {
		t.Errorf("%d requisitions, %v", len(all), err)
	}
	balanced(t, books[0])
}

// The process is killed while it books, and then everything is booked again.
func TestKilledWhileBooking(t *testing.T) {
	if dir := os.Getenv("LEDGER_TEST_CRASH"); dir != "" {
		crash(t, dir)
		return
	}
	dir := t.TempDir()
	s := build(t, open(t, dir))
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledWhileBooking$")
	cmd.Env = append(os.Environ(), "LEDGER_TEST_CRASH="+dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the child should have been killed: %v\n%s", err, out)
	}
	b := open(t, dir)
	before, err := b.All(t.Context(), Commitment)
	if err != nil || len(before) < 2 {
		t.Fatalf("%d commitments survived, %v", len(before), err)
	}
	for i := range 60 {
		put(t, b, fmt.Sprint("k", i), s.commitment("0.1", "0.2"))
	}
	after, err := b.All(t.Context(), Commitment)
	if err != nil || len(after) != 60+1 {
		t.Errorf("%d commitments, want 61; %v", len(after), err)
	}
	balanced(t, b)
}

func crash(t *testing.T, dir string) {
	b := open(t, dir)
	s := site{job: "JOB-000001", vendor: "V-000001", costCode: "CC-000001", category: "CAT-000001"}
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			if i == 59 {
				put(t, b, "k0", s.commitment("0.1", "0.2"))
				self, _ := os.FindProcess(os.Getpid())
				_ = self.Kill()
			}
			put(t, b, fmt.Sprint("k", i), s.commitment("0.1", "0.2"))
		})
	}
	wg.Wait()
}

func TestPutInPlace(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	budget := put(t, b, "b1", &Record{Entity: Budget, ProcoreId: 9007199254740993, JobOriginId: s.job, Lines: []*Line{
		{ProcoreId: 1, Kind: "erp_transaction", Amount: "44.45", CostCodeOriginId: s.costCode, CategoryOriginId: s.category},
	}})
	update := &Record{Entity: Budget, OriginId: budget.OriginId, JobOriginId: s.job, Lines: []*Line{
		{ProcoreId: 2, Kind: "erp_transaction", Amount: "33.33", CostCodeOriginId: s.costCode, CategoryOriginId: s.category},
	}}
	second := put(t, b, "b2", update)
	equal(t, put(t, b, "b2", update), second)
	if second.OriginId != budget.OriginId || fmt.Sprint(second.LineOriginIds) != "[BUD-000001-2]" {
		t.Errorf("updated as %v", second)
	}
	got, err := b.Get(t.Context(), Budget, budget.OriginId)
	if err != nil || len(got.Lines) != 2 || got.ProcoreId != 9007199254740993 {
		t.Errorf("a budget keeps the transactions before: %v, %v", got, err)
	}
	cost, err := b.Get(t.Context(), JobCost, connector.AssignmentID(s.costCode, s.category))
	if err != nil || cost.Amount != "77.78" {
		t.Errorf("job cost %v, %v", cost, err)
	}

	job := put(t, b, "j2", &Record{Entity: Job, OriginId: s.job, Name: "Bridge 2"})
	if got, err := b.Get(t.Context(), Job, s.job); err != nil || got.Name != "Bridge 2" || got.Code != "JOB-1" || job.OriginId != s.job {
		t.Errorf("job %v, %v", got, err)
	}
	_, err = b.Put(t.Context(), &tiebackv1.PutRequest{Key: "j3", Record: &Record{Entity: Job, OriginId: "JOB-999", Name: "x"}})
	refusal(t, err, "origin_id")
	again := s.commitment("1")
	again.OriginId = s.contract
	_, err = b.Put(t.Context(), &tiebackv1.PutRequest{Key: "c2", Record: again})
	refusal(t, err, "origin_id")
	balanced(t, b)
}

func TestRefusals(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	gone := add(t, b, &Record{Entity: Vendor, Name: "gone"}).OriginId
	if err := b.Delete(t.Context(), Vendor, gone); err != nil {
		t.Fatal(err)
	}
	sub := add(t, b, &Record{Entity: SubJob, Name: "East", Code: "E", JobOriginId: s.job}).OriginId
	add(t, b, &Record{Entity: StandardCostCode, Name: "Concrete", Code: "03"})
	add(t, b, &Record{Entity: Job, Name: "Caf\u00e9", Code: "CAF\u00c9"})
	with := func(change func(*Record)) *Record {
		r := s.commitment("1")
		change(r)
		return r
	}
	for name, c := range map[string]struct {
		rec   *Record
		field string
		says  string
	}{
		"no such entity":          {&Record{Entity: 99}, "", "no records"},
		"vendor without a name":   {&Record{Entity: Vendor, Name: " \t"}, "name", "name"},
		"job code taken":          {&Record{Entity: Job, Name: "Other", Code: "JOB-1"}, "code", `The job code "JOB-1" is already used by another job in the ledger. Export the job again with a different code; if it is the same job, sync it from the ledger instead.`},
		"a code typed on a Mac":   {&Record{Entity: Job, Name: "Other", Code: " CAFE\u0301"}, "code", "already used"},
		"sub job code taken":      {&Record{Entity: SubJob, Name: "East", Code: "E", JobOriginId: s.job}, "code", `sub job code "E"`},
		"cost code taken":         {&Record{Entity: CostCode, Name: "Steel", Code: "05-100", JobOriginId: s.job}, "code", "cost code"},
		"standard code taken":     {&Record{Entity: StandardCostCode, Name: "Concrete", Code: "03"}, "code", "standard cost code"},
		"cost code without code":  {&Record{Entity: CostCode, Name: "Steel", JobOriginId: s.job}, "code", "no code"},
		"unknown vendor":          {with(func(r *Record) { r.VendorOriginId = "V-9" }), "vendor", "unknown in the ledger"},
		"deleted vendor":          {with(func(r *Record) { r.VendorOriginId = gone }), "vendor", "deleted"},
		"no vendor":               {with(func(r *Record) { r.VendorOriginId = "" }), "vendor", "no vendor"},
		"unknown job":             {with(func(r *Record) { r.JobOriginId = "J" }), "job", "job"},
		"unknown sub job":         {with(func(r *Record) { r.SubJobOriginId = "S" }), "sub_job", "sub job"},
		"unknown cost code":       {with(func(r *Record) { r.Lines[0].CostCodeOriginId = "C" }), "cost_code", "cost code on line 1"},
		"unknown category":        {with(func(r *Record) { r.Lines[0].CategoryOriginId = "C" }), "category", "category on line 1"},
		"unknown contract":        {&Record{Entity: Requisition, ContractOriginId: "PO-9"}, "contract", "contract"},
		"unknown contract line":   {&Record{Entity: Requisition, ContractOriginId: s.contract, Lines: []*Line{{Amount: "1", ContractLineOriginId: "PO-9-1"}}}, "contract_line", "contract line"},
		"unknown requisition":     {&Record{Entity: Payment, ParentOriginId: "REQ-9", Amount: "1"}, "requisition", "requisition"},
		"prime is no commitment":  {&Record{Entity: Requisition, ContractOriginId: s.prime}, "contract", "contract"},
		"amount with a comma":     {with(func(r *Record) { r.Amount = "1,000" }), "amount", `"1,000"`},
		"amount in words":         {with(func(r *Record) { r.Lines[0].Amount = "NaN" }), "amount", "line 1"},
		"amount with an exponent": {with(func(r *Record) { r.Lines[0].Amount = "1e5" }), "amount", "line 1"},
		"amount of 19 digits":     {with(func(r *Record) { r.Lines[0].Amount = "1234567890123456789" }), "amount", "18 digits"},
		"retainage":               {with(func(r *Record) { r.Lines[0].Retainage = "ten" }), "retainage", "retainage"},
		"date":                    {with(func(r *Record) { r.Date = "31.12.2025" }), "date", "YYYY-MM-DD"},
		"currency":                {with(func(r *Record) { r.Currency = "$" }), "currency", "ISO"},
		"broken characters":       {with(func(r *Record) { r.Description = "a\xff" }), "", "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.Put(t.Context(), &tiebackv1.PutRequest{Key: name, Record: c.rec})
			if says := refusal(t, err, c.field); !strings.Contains(says, c.says) {
				t.Errorf("%q does not say %q", says, c.says)
			}
			if found, err := b.Find(t.Context(), &tiebackv1.FindRequest{Key: name}); err != nil || found.Booking != nil {
				t.Errorf("a refused record left its key: %v, %v", found, err)
			}
		})
	}
	// Codes are unique where they live, not beyond, and free again after a deletion.
	add(t, b, &Record{Entity: CostCode, Name: "Steel", Code: "05-100", JobOriginId: s.job, SubJobOriginId: sub})
	job2 := add(t, b, &Record{Entity: Job, Name: "Tunnel", Code: "JOB-2"}).OriginId
	add(t, b, &Record{Entity: CostCode, Name: "Steel", Code: "05-100", JobOriginId: job2})
	if err := b.Delete(t.Context(), Job, job2); err != nil {
		t.Fatal(err)
	}
	add(t, b, &Record{Entity: Job, Name: "Tunnel", Code: "JOB-2"})
	balanced(t, b)
}

func TestPutDoesNotChangeTheRequest(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	r := s.requisition("1", "")
	was := proto.CloneOf(r)
	put(t, b, "k", r)
	equal(t, r, was)
}

// A cost code with bookings can only be deactivated. It keeps its bookings, and another cost code may get its code.
func TestDeactivatedCostCodeFreesItsCode(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	old := add(t, b, &Record{Entity: CostCode, ProcoreId: 1, Name: "Old", Code: "09-900", JobOriginId: s.job})
	successor := &Record{Entity: CostCode, ProcoreId: 2, Name: "New", Code: "09-900", JobOriginId: s.job}
	_, err := b.Put(t.Context(), &tiebackv1.PutRequest{Key: "taken", Record: successor})
	refusal(t, err, "code")
	put(t, b, "off", &Record{Entity: CostCode, OriginId: old.OriginId, Name: "Old", Code: "09-900", JobOriginId: s.job, Inactive: true})
	if got := put(t, b, "new", successor); got.OriginId == old.OriginId || got.OriginCode != "09-900" {
		t.Errorf("booked as %v", got)
	}
	_, err = b.Put(t.Context(), &tiebackv1.PutRequest{Key: "on", Record: &Record{Entity: CostCode, OriginId: old.OriginId, Name: "Old", Code: "09-900", JobOriginId: s.job}})
	refusal(t, err, "code")
	balanced(t, b)
}

// Otherwise the same invoice, or the same check, would be paid twice.
func TestDuplicateDocumentNumberIsRefused(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	other := add(t, b, &Record{Entity: Vendor, Name: "Other"}).OriginId
	invoice := func(id int64, number string) *Record {
		return &Record{Entity: Requisition, ProcoreId: id, Number: number, Amount: "1", ContractOriginId: s.contract}
	}
	first := put(t, b, "first", invoice(1, "INV-7"))
	second := put(t, b, "second", invoice(2, "INV-8"))
	twice := func(key string, r *Record, says string) {
		t.Helper()
		_, err := b.Put(t.Context(), &tiebackv1.PutRequest{Key: key, Record: r})
		if got := refusal(t, err, "number"); !strings.Contains(got, says) {
			t.Errorf("%q does not say %q", got, says)
		}
	}
	twice("again", invoice(3, " INV-7"), "INV-7\" of this vendor is already in the ledger, as the requisition "+first.OriginId)
	twice("as a direct cost", &Record{Entity: DirectCost, ProcoreId: 4, Number: "INV-7", Amount: "1", VendorOriginId: s.vendor}, "as the requisition")
	put(t, b, "of another vendor", &Record{Entity: DirectCost, ProcoreId: 5, Number: "INV-7", Amount: "1", VendorOriginId: other})

	check := func(id int64, pays, vendor string) *Record {
		return &Record{Entity: Payment, ProcoreId: id, Number: "12", Amount: "1", ParentOriginId: pays, VendorOriginId: vendor}
	}
	paid := put(t, b, "check", check(11, first.OriginId, ""))
	if len(paid.Messages) > 0 {
		t.Errorf("%v", paid.Messages)
	}
	twice("check again", check(12, first.OriginId, ""), "is already in the ledger, as "+paid.OriginId)
	twice("check of another vendor", check(13, "", other), "is already in the ledger")
	if split := put(t, b, "split", check(14, second.OriginId, "")); len(split.Messages) != 1 || !strings.Contains(split.Messages[0], "also pays "+first.OriginId) {
		t.Errorf("one check, two invoices: %v", split.Messages)
	}
	if err := b.Delete(t.Context(), Payment, paid.OriginId); err != nil {
		t.Fatal(err)
	}
	put(t, b, "check once more", check(15, first.OriginId, ""))
	balanced(t, b)
}

// A check number, and an invoice number of a vendor, may be used for different contracts of the vendor. The message says so.
func TestNumberOnAnotherContractOfTheVendor(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	second := add(t, b, s.commitment("100.00")).OriginId
	for _, c := range []struct {
		entity Entity
		says   string
	}{{Payment, "also pays " + s.contract}, {Requisition, "on the commitment " + s.contract}} {
		numbered := func(id int64, contract string) *Record {
			return &Record{Entity: c.entity, ProcoreId: id, Number: "1", Amount: "1", ContractOriginId: contract}
		}
		first := put(t, b, fmt.Sprint(c.entity, 1), numbered(1, s.contract))
		if len(first.Messages) > 0 {
			t.Errorf("%v", first.Messages)
		}
		other := put(t, b, fmt.Sprint(c.entity, 2), numbered(2, second))
		if len(other.Messages) != 1 || !strings.Contains(other.Messages[0], c.says) || !strings.Contains(other.Messages[0], first.OriginId) {
			t.Errorf("%v on another contract: %q", c.entity, other.Messages)
		}
		_, err := b.Put(t.Context(), &tiebackv1.PutRequest{Key: fmt.Sprint(c.entity, 3), Record: numbered(3, s.contract)})
		refusal(t, err, "number")
	}
	balanced(t, b)
}
