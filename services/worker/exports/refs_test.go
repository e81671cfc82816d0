package exports_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/exports"
	"github.com/tieback/tieback/services/worker/workertest"
)

// later runs an export after other events of the same ERP. fresh is Task.Fresh.
func later(t *testing.T, eventType string, raw []byte, e *workertest.ERP, fresh bool) ([]*tiebackv1.CloseOut, error) {
	t.Helper()
	task := workertest.Task(t, eventType, raw, e, &workertest.Procore{})
	task.Event.ErpRequestId++
	task.Fresh = fresh
	return exports.Handlers[eventType](context.Background(), task)
}

func booked(t *testing.T, eventType string, raw []byte, e *workertest.ERP) *tiebackv1.Record {
	t.Helper()
	out, err := later(t, eventType, raw, e, false)
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(out, func(c *tiebackv1.CloseOut) bool { return c.Status != tiebackv1.Status_STATUS_SUCCESS }); i >= 0 {
		t.Fatalf("%s: %v", eventType, out[i])
	}
	return e.Puts[len(e.Puts)-1]
}

// None of these bookings has a link yet, because the link is stored after the booking.
func TestReferencesAreResolvedBeforeTheirLinksExist(t *testing.T) {
	samples := workertest.Samples(t)
	unsynced := func(eventType string, oldnew ...string) []byte {
		return workertest.Edit(t, samples[eventType], oldnew...)
	}
	for name, c := range map[string]struct {
		first  string
		origin func(*workertest.ERP) string // of the first record
		second string
		raw    []byte
		field  func(*tiebackv1.Record) string
	}{
		"a payment of an invoice": {"create_requisitions", first, "create_payment", unsynced("create_payment", `"requisition_id":7`, `"requisition_id":1`), (*tiebackv1.Record).GetParentOriginId},
		"a budget of a job":       {"create_or_update_job", first, "create_budget", unsynced("create_budget", `"job_id":"project_origin_id",`, ``, `"project_id":123`, `"project_id":7`), (*tiebackv1.Record).GetJobOriginId},
		"a budget's lines": {"create_or_update_job", first, "create_budget", unsynced("create_budget", `"job_id":"project_origin_id",`, ``, `"project_id":123`, `"project_id":7`, `"job_origin_id":"project_origin_id"`, `"job_origin_id":null`),
			func(r *tiebackv1.Record) string { return r.Lines[0].JobOriginId }},
		"a sub job of a job": {"create_or_update_job", first, "create_sub_job", unsynced("create_sub_job", `"origin_id":"parent_project_origin_id"`, `"origin_id":null`), (*tiebackv1.Record).GetJobOriginId},
		"a commitment with a vendor": {"create_vendor", first, "create_commitment", unsynced("create_commitment", `"vendor":{"id":47,`, `"vendor":{"id":35,`, `"origin_id":"800000CD-1389650341"`, `"origin_id":null`),
			(*tiebackv1.Record).GetVendorOriginId},
		"a commitment's line on a job": {"create_or_update_job", first, "create_commitment", unsynced("create_commitment", `"project":{"id":86,`, `"project":{"id":7,`, `"origin_id":"800003DD-1600977189"`, `"origin_id":null`),
			func(r *tiebackv1.Record) string { return r.Lines[0].JobOriginId }},
		"a commitment's line on a cost code": {"create_or_update_job", func(e *workertest.ERP) string { return "E-2" }, "create_commitment",
			unsynced("create_commitment", `"cost_code":{"id":1472,`, `"cost_code":{"id":1,`, `"origin_id":"800003DD-1600977189|800005FA-1477351439"`, `"origin_id":null`),
			func(r *tiebackv1.Record) string { return r.Lines[0].CostCodeOriginId }},
		"a direct cost with a vendor": {"create_vendor", first, "create_company_level_direct_cost", unsynced("create_company_level_direct_cost", `"vendor":{"id":"30000001"`, `"vendor":{"id":"35"`, `"origin_id":"vendor_origin_id"`, `"origin_id":null`),
			(*tiebackv1.Record).GetVendorOriginId},
	} {
		t.Run(name, func(t *testing.T) {
			e := &workertest.ERP{Linked: links()}
			delete(e.Linked, "requisition/7")
			must(t, c.first, samples[c.first], e)
			before := len(e.Puts)
			booked(t, c.second, c.raw, e)
			if got := c.field(e.Puts[before]); got != c.origin(e) || got == "" {
				t.Errorf("it names %q, want %q: %v", got, c.origin(e), e.Puts[before])
			}
		})
	}
}

func first(*workertest.ERP) string { return "E-1" }

// A booking counts only while the ERP has the record, and only in the generation in which it was made.
func TestRemovedOrResetRecordsAreNotReferredTo(t *testing.T) {
	samples := workertest.Samples(t)
	pay := workertest.Edit(t, samples["create_payment"], `"requisition_id":7`, `"requisition_id":1`)
	for name, end := range map[string]func(*workertest.ERP){
		"deleted in the ERP": func(e *workertest.ERP) { e.Removed = append(e.Removed, "E-1") },
		"reset": func(e *workertest.ERP) {
			if err := e.NextGeneration(t.Context(), workertest.Company, "ENTITY_REQUISITION", 1, order.New(time.Now(), 1)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		e := &workertest.ERP{}
		must(t, "create_requisitions", samples["create_requisitions"], e)
		end(e)
		out, err := later(t, "create_payment", pay, e, false)
		if err != nil || out[0].Status != tiebackv1.Status_STATUS_FAILED || !strings.Contains(out[0].Messages[0], "Export the invoice first") {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
}

// A record that a fresh event refers to may be booked soon, so the event is retried before it is refused.
func TestFreshEventWaitsForItsReferences(t *testing.T) {
	samples := workertest.Samples(t)
	pay := workertest.Edit(t, samples["create_payment"], `"requisition_id":7`, `"requisition_id":1`)
	e := &workertest.ERP{}
	_, err := later(t, "create_payment", pay, e, true)
	if fault.ClassOf(err) != fault.Transient || !strings.Contains(fault.UserMessage(err, ""), "Export the invoice first") {
		t.Fatalf("%v", err)
	}
	must(t, "create_requisitions", samples["create_requisitions"], e)
	out, err := later(t, "create_payment", pay, e, true)
	if err != nil || out[0].Status != tiebackv1.Status_STATUS_SUCCESS || e.Puts[1].ParentOriginId != "E-1" {
		t.Errorf("%v, %v", out, err)
	}
	e = &workertest.ERP{Refuse: func(*tiebackv1.Record) error { return fault.Refused("vendor", "It needs a vendor.") }}
	commitment := workertest.Edit(t, samples["create_commitment"], `"origin_id":"800000CD-1389650341"`, `"origin_id":null`)
	if _, err := later(t, "create_commitment", commitment, e, true); fault.ClassOf(err) != fault.Transient {
		t.Errorf("a commitment whose vendor is not there yet: %v", err)
	}
	whole := samples["create_commitment"]
	if out, err := later(t, "create_commitment", whole, e, true); err != nil || out[0].Status != tiebackv1.Status_STATUS_FAILED {
		t.Errorf("a refusal that no reference explains is retried: %v, %v", out, err)
	}
}

// Without this wait, the change order would be booked on no line of its commitment, whose lines are not
// linked yet.
func TestChangeOrderWaitsForTheLinesOfItsCommitment(t *testing.T) {
	samples := workertest.Samples(t)
	commitment := workertest.Edit(t, samples["create_commitment"], `"commitment":{"id":41`, `"commitment":{"id":2`)
	change := samples["create_commitment_change_order"]
	e := &workertest.ERP{}
	must(t, "create_commitment", commitment, e)
	if !strings.Contains(string(change), `"commitment_line_item_id":177`) {
		t.Fatal("the sample has another line")
	}
	_, err := later(t, "create_commitment_change_order", change, e, false)
	if fault.ClassOf(err) != fault.Transient || err == nil || len(e.Puts) != 1 {
		t.Fatalf("%v, booked %v", err, e.Puts)
	}
	e.Linked = map[string]string{"line_item/177": "E-1-1", "work_order_contract/2": "E-1"}
	if r := booked(t, "create_commitment_change_order", change, e); r.ContractOriginId != "E-1" || r.Lines[0].ContractLineOriginId != "E-1-1" {
		t.Errorf("%v", r)
	}
}

// An ERP that can't be reached must not be treated like one that has no booking.
func TestFailedLookupIsNotAMissingReference(t *testing.T) {
	e := &workertest.ERP{RefuseFind: fault.New(fault.Transient, errors.New("down"))}
	_, err := later(t, "create_payment", workertest.Samples(t)["create_payment"], e, false)
	if fault.ClassOf(err) != fault.Transient || !errors.Is(err, e.RefuseFind) {
		t.Errorf("%v", err)
	}
}
