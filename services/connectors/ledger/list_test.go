package ledger

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func list(t testing.TB, b *Books, req *tiebackv1.ListRequest) *tiebackv1.ListResponse {
	t.Helper()
	res, err := b.List(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// A reader that follows the cursors has what the books have at the end.
func TestPagingWhileRecordsChange(t *testing.T) {
	b := open(t, t.TempDir())
	for i := range 25 {
		add(t, b, &Record{Entity: Vendor, Name: fmt.Sprint("vendor ", i)})
	}
	seen := map[string]string{}
	cursor, pages := "", 0
	for {
		res := list(t, b, &tiebackv1.ListRequest{Entity: Vendor, Cursor: cursor, Limit: 10})
		for _, c := range res.Changes {
			if delete(seen, c.Record.OriginId); !c.Deleted {
				seen[c.Record.OriginId] = c.Record.Name
			}
		}
		cursor = res.Cursor
		if pages++; pages == 1 { // change what was told and what was not, and add one
			if _, err := b.Update(t.Context(), &Record{Entity: Vendor, OriginId: "V-000001", Name: "new name"}); err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"V-000002", "V-000024"} {
				if err := b.Delete(t.Context(), Vendor, id); err != nil {
					t.Fatal(err)
				}
			}
			add(t, b, &Record{Entity: Vendor, Name: "late"})
		}
		if !res.More {
			break
		}
	}
	if len(seen) != 24 || seen["V-000001"] != "new name" || seen["V-000026"] != "late" || seen["V-000002"]+seen["V-000024"] != "" {
		t.Errorf("%d vendors: %v", len(seen), seen)
	}
	res := list(t, b, &tiebackv1.ListRequest{Entity: Vendor, Cursor: cursor})
	if len(res.Changes) != 0 || res.More || res.Cursor != cursor {
		t.Errorf("nothing changed, but: %v", res)
	}
}

func TestListFiltersAndTombstones(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	job2 := add(t, b, &Record{Entity: Job, Name: "Tunnel", Code: "T"}).OriginId
	sub := add(t, b, &Record{Entity: SubJob, Name: "East", JobOriginId: job2}).OriginId
	add(t, b, &Record{Entity: CostCode, Name: "Dig", Code: "1", JobOriginId: job2})
	inSub := add(t, b, &Record{Entity: CostCode, Name: "Dig", Code: "1", JobOriginId: job2, SubJobOriginId: sub}).OriginId
	ins := add(t, b, &Record{Entity: Insurance, Name: "Liability", ParentOriginId: s.vendor}).OriginId
	for name, c := range map[string]struct {
		req  *tiebackv1.ListRequest
		want int
	}{
		"all cost codes":        {&tiebackv1.ListRequest{Entity: CostCode}, 3},
		"of a job":              {&tiebackv1.ListRequest{Entity: CostCode, JobOriginId: job2}, 2},
		"of a sub job":          {&tiebackv1.ListRequest{Entity: CostCode, JobOriginId: job2, SubJobOriginId: sub}, 1},
		"insurances of vendor":  {&tiebackv1.ListRequest{Entity: Insurance, ParentOriginId: s.vendor}, 1},
		"insurances of another": {&tiebackv1.ListRequest{Entity: Insurance, ParentOriginId: "V-9"}, 0},
		"job costs of the job":  {&tiebackv1.ListRequest{Entity: JobCost, JobOriginId: s.job}, 1},
	} {
		if got := list(t, b, c.req); len(got.Changes) != c.want {
			t.Errorf("%s: %d, want %d", name, len(got.Changes), c.want)
		}
	}
	contracts := list(t, b, &tiebackv1.ListRequest{Entity: Commitment})
	if len(contracts.Changes) != 1 || len(contracts.Changes[0].Record.Lines) != 1 {
		t.Errorf("contracts come with their lines: %v", contracts)
	}
	if err := b.Delete(t.Context(), Job, job2); err != nil {
		t.Fatal(err)
	}
	for _, c := range list(t, b, &tiebackv1.ListRequest{Entity: CostCode, JobOriginId: job2}).Changes {
		if !c.Deleted || c.Record.Name != "" || c.Record.JobOriginId != job2 {
			t.Errorf("no tombstone: %v", c)
		}
	}
	for id, want := range map[string]tiebackv1.RecordState{
		inSub: tiebackv1.RecordState_RECORD_STATE_DELETED, s.costCode: tiebackv1.RecordState_RECORD_STATE_PRESENT,
		"CC-9": tiebackv1.RecordState_RECORD_STATE_UNKNOWN, ins: tiebackv1.RecordState_RECORD_STATE_UNKNOWN,
	} {
		got, err := b.State(t.Context(), &tiebackv1.StateRequest{Entity: CostCode, OriginId: id})
		if err != nil || got.State != want {
			t.Errorf("state of %s: %v, %v; want %v", id, got.GetState(), err, want)
		}
	}
	for _, cursor := range []string{"-1", "no cursor", "zzzzzz"} {
		_, err := b.List(t.Context(), &tiebackv1.ListRequest{Entity: Vendor, Cursor: cursor})
		refusal(t, err, "cursor")
	}
}

func TestRecordsWithDocumentsAreNotRemoved(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	add(t, b, &Record{Entity: Budget, JobOriginId: s.job, Lines: []*Line{s.line("500")}})
	req := add(t, b, s.requisition("10", "")).OriginId
	pay := add(t, b, &Record{Entity: Payment, ParentOriginId: req, Number: "CHECK-7", Amount: "10"}).OriginId
	remove := func(e Entity, id string) error {
		_, err := b.Remove(t.Context(), &tiebackv1.RemoveRequest{Entity: e, OriginId: id, Key: "reset"})
		return err
	}
	for _, c := range []struct {
		entity Entity
		id     string
		says   string
	}{
		{Vendor, s.vendor, s.contract}, {Job, s.job, "depend on it"}, {CostCode, s.costCode, "depend"},
		{StandardCategory, s.category, "depend"}, {CostTypeAssignment, connector.AssignmentID(s.costCode, s.category), "depend"},
		{Commitment, s.contract, `requisition "INV-`}, {Requisition, req, `payment "CHECK-7" depends on it`},
	} {
		if says := refusal(t, remove(c.entity, c.id), ""); !strings.Contains(says, c.says) {
			t.Errorf("%q does not say %q", says, c.says)
		}
	}
	for _, c := range []struct {
		entity Entity
		id     string
	}{
		{Payment, pay}, {Payment, pay}, {Payment, "PAY-9"}, {Requisition, req}, {Commitment, s.contract},
		{PrimeContract, s.prime}, {Job, s.job}, {Vendor, s.vendor}, {StandardCategory, s.category},
	} {
		if err := remove(c.entity, c.id); err != nil {
			t.Errorf("remove %v %s: %v", c.entity, c.id, err)
		}
	}
	for booking, err := range b.Bookings(t.Context()) { // the job took its cost codes and its budget along
		if err != nil || !booking.Deleted {
			t.Errorf("still there: %v, %v", booking.Record, err)
		}
	}
	if left := totals(t, b); len(left) != 0 {
		t.Errorf("left in the accounts: %v", left)
	}
	balanced(t, b)
}

// The budget belongs to the job; only one of its lines is of the sub job.
func TestRemovedSubJobLeavesTheBudgetOfTheJob(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	sub := add(t, b, &Record{Entity: SubJob, Name: "East", JobOriginId: s.job}).OriginId
	add(t, b, &Record{Entity: Budget, JobOriginId: s.job, Lines: []*Line{{Amount: "1", SubJobOriginId: sub}}})
	refusal(t, b.Delete(t.Context(), SubJob, sub), "")
}

func TestUpdateKeepsBilledLines(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	add(t, b, s.requisition("10", ""))
	r, err := b.Get(t.Context(), Commitment, s.contract)
	if err != nil {
		t.Fatal(err)
	}
	r.Lines = []*Line{s.line("7")}
	_, err = b.Update(t.Context(), r)
	refusal(t, err, "lines")
	r, err = b.Get(t.Context(), Commitment, s.contract)
	if err != nil {
		t.Fatal(err)
	}
	r.Lines = append(r.Lines, s.line("7"))
	if r, err = b.Update(t.Context(), r); err != nil || r.Lines[0].OriginId != s.contract+"-1" || r.Lines[1].OriginId != s.contract+"-2" {
		t.Errorf("lines keep their numbers: %v, %v", r, err)
	}
	balanced(t, b)
}

func TestRemovedAssignmentIsBookedAgain(t *testing.T) {
	b := open(t, t.TempDir())
	s := build(t, b)
	if err := b.Delete(t.Context(), Commitment, s.contract); err != nil {
		t.Fatal(err)
	}
	id := connector.AssignmentID(s.costCode, s.category)
	if err := b.Delete(t.Context(), CostTypeAssignment, id); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), JobCost, id); err == nil {
		t.Error("the job cost outlived its assignment")
	}
	got := put(t, b, "again", &Record{Entity: CostTypeAssignment, CostCodeOriginId: s.costCode, CategoryOriginId: s.category})
	if _, err := b.Get(t.Context(), JobCost, id); err != nil || got.OriginId != id {
		t.Errorf("%v, %v", got, err)
	}
}
