package unlinks_test

import (
	"context"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/unlinks"
	"github.com/tieback/tieback/services/worker/workertest"
)

const present = tiebackv1.RecordState_RECORD_STATE_PRESENT

func TestEveryUnlinkTypeHasAHandler(t *testing.T) {
	if _, err := worker.New(context.Background(), catalogue.Unlink, unlinks.Handlers, worker.Deps{}); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, eventType string, raw []byte, e *workertest.ERP, p *workertest.Procore) ([]*tiebackv1.CloseOut, error) {
	t.Helper()
	return unlinks.Handlers[eventType](context.Background(), workertest.Task(t, eventType, raw, e, p))
}

// Records that are gone from the ERP are unlinked or deleted. A second run has the same result.
func TestUnlinkIsIdempotent(t *testing.T) {
	samples := workertest.Samples(t)
	for _, row := range catalogue.Of(catalogue.Unlink) {
		t.Run(row.Name, func(t *testing.T) {
			e, p := &workertest.ERP{}, &workertest.Procore{}
			if _, err := run(t, row.Name, samples[row.Name], e, p); err != nil {
				t.Fatal(err)
			}
			p.Requests = nil
			out, err := run(t, row.Name, samples[row.Name], e, p)
			if err != nil {
				t.Fatal(err)
			}
			workertest.Golden(t, row.Name, e, p, out)
		})
	}
}

// everything is an ERP that has every record.
type everything struct{ *workertest.ERP }

func (everything) State(context.Context, *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return &tiebackv1.StateResponse{State: present}, nil
}

func TestUnlinkRefusesRecordsThatTheERPHas(t *testing.T) {
	samples := workertest.Samples(t)
	for _, row := range catalogue.Of(catalogue.Unlink) {
		t.Run(row.Name, func(t *testing.T) {
			e, p := &workertest.ERP{}, &workertest.Procore{}
			task := workertest.Task(t, row.Name, samples[row.Name], e, p)
			task.ERP = connector.New(everything{e}, connector.Config{Company: workertest.Company, Generations: e})
			out, err := unlinks.Handlers[row.Name](context.Background(), task)
			if err != nil || len(out) != 1 {
				t.Fatalf("close-outs %v, error %v", out, err)
			}
			always := row.Name == "unlink_vendor" || row.Name == "unlink_standard_cost_codes"
			if always != (out[0].Status == tiebackv1.Status_STATUS_SUCCESS) {
				t.Fatalf("close-out %v", out[0])
			}
			if always {
				return
			}
			if !strings.HasSuffix(out[0].Messages[0], "is still in your ERP system. Delete it there, then retry.") || out[0].RequestDetailId == 0 {
				t.Errorf("close-out %v", out[0])
			}
			if len(p.Requests)+len(e.NextGenerations)+len(out[0].Unlinks) > 0 {
				t.Errorf("calls %v, next generations %v, unlinks %v", p.Requests, e.NextGenerations, out[0].Unlinks)
			}
		})
	}
}

func TestCommitmentIsUnlinkedUnderItsLinkedType(t *testing.T) {
	sample := workertest.Samples(t)["unlink_commitment"]
	for _, tt := range []struct {
		why    string
		raw    []byte
		linked map[string]string
		want   string
	}{
		{"the payload says", workertest.Edit(t, sample, "contract_type", "WorkOrderContract"), nil, "work_order_contract"},
		{"the link says", sample, map[string]string{"work_order_contract/4": "commitment_origin_id"}, "work_order_contract"},
		{"neither says", sample, nil, "purchase_order_contract"},
	} {
		e, p := &workertest.ERP{Linked: tt.linked}, &workertest.Procore{}
		out, err := run(t, "unlink_commitment", tt.raw, e, p)
		if err != nil || out[0].Unlinks[0].ItemType != tt.want {
			t.Errorf("%s: %v, error %v", tt.why, out, err)
		}
		if tt.linked != nil {
			workertest.Golden(t, tt.want+"_unlink_commitment", e, p, out)
		}
	}
}

// A line of a prime contract change order may have markups.
func TestMarkupsAreUnsyncedWithTheirLine(t *testing.T) {
	raw := []byte(`{"prime_contract_change_order":{"id":3,"origin_id":"CO-1"},"prime_contract_change_order_line_items":[{"id":5,"markup_line_items":[{"id":6}]}],"request_detail_id":12345}`)
	e, p := &workertest.ERP{}, &workertest.Procore{}
	out, err := run(t, "unlink_prime_contract_change_order", raw, e, p)
	if err != nil {
		t.Fatal(err)
	}
	workertest.Golden(t, "markup_unlink_prime_contract_change_order", e, p, out)
}

// Procore has unlinked a vendor or a standard cost code before the event arrives: only our link is removed,
// without a call.
func TestRecordsThatProcoreUnlinkedAreNotUnlinkedAgain(t *testing.T) {
	for eventType, itemType := range map[string]string{"unlink_vendor": "vendor", "unlink_standard_cost_codes": "standard_cost_code"} {
		e := &workertest.ERP{}
		out, err := run(t, eventType, workertest.Samples(t)[eventType], e, &workertest.Procore{})
		if err != nil || len(out) != 1 || len(out[0].Unlinks)+len(out[0].Marks) > 0 || len(e.NextGenerations) != 1 {
			t.Errorf("%s: %v, next generations %v, error %v", eventType, out, e.NextGenerations, err)
			continue
		}
		if l := out[0].Links; len(l) != 1 || l[0].ItemType != itemType || l[0].OriginId != "" {
			t.Errorf("%s: links %v", eventType, l)
		}
	}
}

var twoCodes = []byte(`{"request_data":{"project":{"id":1},"cost_codes":[
	{"id":3,"request_detail_id":31,"origin_id":"a","sortable_code":"1-01"},
	{"id":4,"request_detail_id":41,"origin_id":"b","sortable_code":"1-02"}]}}`)

func TestCostCodesHaveCloseOutsOfTheirOwn(t *testing.T) {
	for why, tt := range map[string]struct {
		e *workertest.ERP
		p *workertest.Procore
	}{
		"the ERP has the first":       {&workertest.ERP{States: map[string]tiebackv1.RecordState{"a": present}}, &workertest.Procore{}},
		"Procore refuses the first":   {&workertest.ERP{}, &workertest.Procore{Status: map[string]int{"DELETE /rest/v1.0/cost_codes/3": 422}}},
		"the second was gone already": {&workertest.ERP{States: map[string]tiebackv1.RecordState{"a": present}}, &workertest.Procore{Status: map[string]int{"DELETE /rest/v1.0/cost_codes/4": 404}}},
	} {
		out, err := run(t, "delete_cost_codes", twoCodes, tt.e, tt.p)
		if err != nil || len(out) != 2 {
			t.Errorf("%s: %v, error %v", why, out, err)
			continue
		}
		if out[0].Status != tiebackv1.Status_STATUS_FAILED || out[0].RequestDetailId != 31 || out[1].Status != tiebackv1.Status_STATUS_SUCCESS || out[1].RequestDetailId != 41 {
			t.Errorf("%s: %v", why, out)
		}
	}
}

// With a limit of a few calls, an attempt must resume where the last one stopped.
func TestThrottledDeletionResumes(t *testing.T) {
	e, p := &workertest.ERP{}, &workertest.Procore{Status: map[string]int{"DELETE /rest/v1.0/cost_codes/4": 429}}
	if _, err := run(t, "delete_cost_codes", twoCodes, e, p); fault.ClassOf(err) != fault.Throttled {
		t.Fatalf("error %v", err)
	}
	p.Status, p.Requests = nil, nil
	out, err := run(t, "delete_cost_codes", twoCodes, e, p)
	if err != nil || len(out) != 2 {
		t.Fatalf("%v, error %v", out, err)
	}
	if len(p.Requests) != 1 || p.Requests[0].String() != "DELETE /rest/v1.0/cost_codes/4?company_id=7&project_id=1" {
		t.Errorf("calls %v", p.Requests)
	}
	if progress, _ := e.Cursor(context.Background(), workertest.Company, "deleted-900"); progress != "" {
		t.Errorf("progress is left: %q", progress)
	}
}

func TestDeleteAssignmentWithoutJobCost(t *testing.T) {
	raw := workertest.Edit(t, workertest.Samples(t)["delete_cost_type_assignments"], `"job_cost_id":5`, `"job_cost_id":null`)
	p := &workertest.Procore{}
	out, err := run(t, "delete_cost_type_assignments", raw, &workertest.ERP{}, p)
	if err != nil || out[0].Status != tiebackv1.Status_STATUS_SUCCESS || len(p.Requests) != 1 {
		t.Errorf("%v, error %v, calls %v", out, err, p.Requests)
	}
}
