package syncs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/syncs"
	"github.com/tieback/tieback/services/worker/workertest"
)

// A record that Procore refuses waits: the next sync tries this record again, and no other.
func TestRefusedRecordsAreTriedAgain(t *testing.T) {
	b := workertest.New(t)
	many(b, 120)
	b.Procore.RefuseItem = map[string]string{"V-3": "is too long", "V-77": "is taken"}
	out := run(t, b, "sync_vendors")
	want := `Procore refused 2 of 120 vendors: vendor "Vendor 3": name: is too long; vendor "Vendor 77": name: is taken. The others were synced. Correct the refused records and sync again.`
	if len(out) != 1 || out[0].RequestDetailId != 100 || out[0].Status != tiebackv1.Status_STATUS_FAILED || strings.Join(out[0].Messages, "|") != want {
		t.Error(out)
	}
	b.Procore.Take()

	delete(b.Procore.RefuseItem, "V-3")
	if out = run(t, b, "sync_vendors"); out[0].Status != tiebackv1.Status_STATUS_FAILED || sizes(b) != "staged_records 2" {
		t.Error("the second sync:", out)
	}
	b.Procore.RefuseItem = nil
	if out = run(t, b, "sync_vendors"); out[0].Status != tiebackv1.Status_STATUS_SUCCESS || sizes(b) != "staged_records 1" {
		t.Error("the third sync:", out)
	}
	if run(t, b, "sync_vendors"); sizes(b) != "" {
		t.Error("the fourth sync wrote")
	}
}

func TestMessageCountsFurtherRefusals(t *testing.T) {
	b := workertest.New(t)
	many(b, 12)
	b.Procore.RefuseItem = map[string]string{}
	for i := range 12 {
		b.Procore.RefuseItem[fmt.Sprint("V-", i)] = "is odd"
	}
	got := run(t, b, "sync_vendors")[0].Messages[0]
	if strings.Count(got, "is odd") != 10 || !strings.Contains(got, "; and 2 more. Correct") {
		t.Error(got)
	}
}

// If a refusal names none of the records, the whole batch is tried again.
func TestUnnamedRefusalRetriesTheBatch(t *testing.T) {
	b := workertest.New(t)
	many(b, 5)
	b.Procore.RefuseItem, b.Procore.Unnamed = map[string]string{"V-3": "is odd"}, true
	run(t, b, "sync_vendors")
	b.Procore.Take()
	b.Procore.RefuseItem = nil
	if run(t, b, "sync_vendors"); sizes(b) != "staged_records 5" {
		t.Error("not all were tried again")
	}
}

// After Procore has a batch, an interrupted sync resumes behind it. It skips nothing that was not written.
func TestInterruptedSyncResumes(t *testing.T) {
	down := fault.New(fault.Transient, errors.New("down"))
	for name, c := range map[string]struct {
		fail, repair func(*workertest.Rig)
		class        fault.Class
		first        string
	}{
		"the ERP fails on its second page": {
			func(b *workertest.Rig) { b.ERP.ListError, b.ERP.ListErrorFrom = down, 2 },
			func(b *workertest.Rig) { b.ERP.ListError = nil }, fault.Transient, "staged_records 1000",
		},
		"Procore fails on its second call": {
			func(b *workertest.Rig) { b.Procore.Fail, b.Procore.FailFrom = 500, 2 },
			func(b *workertest.Rig) { b.Procore.Fail = 0 }, fault.Transient, "staged_records 1000",
		},
		"Procore throttles at once": {
			func(b *workertest.Rig) { b.Procore.Fail, b.Procore.FailFrom = 429, 1 },
			func(b *workertest.Rig) { b.Procore.Fail = 0 }, fault.Throttled, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := workertest.New(t)
			many(b, 1500)
			c.fail(b)
			if out, err := b.Run(syncs.Handlers, "sync_vendors", ""); err == nil || fault.ClassOf(err) != c.class || out != nil {
				t.Fatal(out, err)
			}
			if got := sizes(b); got != c.first {
				t.Fatal(got)
			}
			if c.class == fault.Throttled {
				return // the session waits for the limit's reset
			}
			c.repair(b)
			if run(t, b, "sync_vendors"); sizes(b) != "staged_records 500" {
				t.Error("it did not resume where it stopped")
			}
		})
	}
}

// A tombstone that Procore refuses to archive is not reported to the user.
func TestRefusedArchivingIsNotReported(t *testing.T) {
	b := workertest.New(t)
	many(b, 2)
	run(t, b, "sync_vendors")
	b.ERP.Delete(&record{Entity: vendor, OriginId: "V-1"})
	b.Procore.RefuseItem = map[string]string{"V-1": "is imported"}
	if out := run(t, b, "sync_vendors"); out[0].Status != tiebackv1.Status_STATUS_SUCCESS {
		t.Error(out)
	}
}

func TestSyncRefusesBeforeItWrites(t *testing.T) {
	for name, c := range map[string]struct {
		event, raw string
		spoil      func(*workertest.Rig)
		want       string
	}{
		"no standard cost code list": {
			"sync_standard_cost_codes", `{"request_data":{"request_detail_id":1}}`,
			func(b *workertest.Rig) { b.Company.StandardCostCodeListID = 0 }, "standard_cost_code_list_id",
		},
		"the ERP lists no commitments": {
			"sync_commitments", "", func(b *workertest.Rig) { b.ERP.Unsupported = []tiebackv1.Entity{commitment} }, "does not list its commitments",
		},
		"no project": {"sync_single_job", `{"request_data":{"id":"J1"}}`, func(*workertest.Rig) {}, "does not say which job"},
		"no sub job": {"sync_sub_job", `{"request_data":{"id":"J1"}}`, func(*workertest.Rig) {}, "does not say which job"},
		"a job that the ERP deleted": {
			"sync_single_job", "", func(b *workertest.Rig) { b.ERP.Delete(&record{Entity: job, OriginId: project}) }, "no longer in your ERP system",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := world(t)
			c.spoil(b)
			_, err := b.Run(syncs.Handlers, c.event, c.raw)
			if fault.ClassOf(err) != fault.Permanent || !strings.Contains(fault.UserMessage(err, ""), c.want) {
				t.Errorf("%v: %s", err, fault.UserMessage(err, "no message"))
			}
			if n := len(b.Procore.Take()); n != 0 {
				t.Error(n, "writes")
			}
		})
	}
}

// If Procore refuses a part of a job's sync, the other parts are still synced.
func TestRefusedPartOfAJobDoesNotAffectTheOthers(t *testing.T) {
	b := world(t)
	b.Procore.Fail, b.Procore.FailFrom = 422, 3 // the job costs
	out := run(t, b, "sync_single_job")
	if len(out) != 2 || out[0].Status != tiebackv1.Status_STATUS_SUCCESS || len(out[0].Links) != 1 || len(out[0].Assignments) != 1 {
		t.Error(out)
	}
	if last := out[len(out)-1]; last.Status != tiebackv1.Status_STATUS_FAILED || last.Messages[0] != "Procore refused: out of order" {
		t.Error(last)
	}
}

// The next sync of the job writes a refused cost code again; its assignment follows then.
func TestRefusedCostCodeIsTriedAgain(t *testing.T) {
	b := world(t)
	b.ERP.Link("cost_code", 61, "")
	b.Procore.RefuseItem = map[string]string{"CC-1": "is taken"}
	out := run(t, b, "sync_single_job")
	last := out[len(out)-1]
	if last.Status != tiebackv1.Status_STATUS_FAILED || !strings.Contains(last.Messages[0], `refused 1 of 4 records of this job: cost code "General"`) {
		t.Error(out)
	}
	b.Procore.Take()
	b.Procore.RefuseItem = nil
	out = run(t, b, "sync_single_job")
	if got := sizes(b); got != "cost_codes 1, cost_codes 1" || len(out[0].Assignments) != 1 {
		t.Error(got, out)
	}
}

// A commitment that is neither a purchase order nor a subcontract is reported by name, and waits.
func TestCommitmentWithoutAKindIsRefused(t *testing.T) {
	b := workertest.New(t)
	b.ERP.Add(&record{Entity: commitment, OriginId: "X-1", Name: "Odd", JobOriginId: project})
	for range 2 {
		if out := run(t, b, "sync_commitments"); out[0].Status != tiebackv1.Status_STATUS_FAILED || !strings.Contains(out[0].Messages[0], `commitment "Odd"`) {
			t.Error(out)
		}
	}
}

// A staged contract has no amount of its own, so without lines it would be imported with a total of zero.
func TestAmountWithoutLinesIsRefused(t *testing.T) {
	b := world(t)
	run(t, b, "sync_commitments")
	b.ERP.Add(&record{Entity: commitment, OriginId: "PO-9", Kind: "purchase_order_contract", Name: "Crane", JobOriginId: project, VendorOriginId: "V-1", Amount: "-20.00"})
	b.ERP.Add(&record{Entity: commitment, OriginId: "PO-10", Kind: "purchase_order_contract", Name: "Nothing yet", JobOriginId: project, VendorOriginId: "V-1", Amount: "0.00"})
	b.Procore.Take()
	out := run(t, b, "sync_commitments")
	if out[0].Status != tiebackv1.Status_STATUS_FAILED || !strings.Contains(out[0].Messages[0], `commitment "Crane": it has an amount but no lines`) || sizes(b) != "staged_records 1" {
		t.Errorf("%v, %s", out, sizes(b))
	}
}
