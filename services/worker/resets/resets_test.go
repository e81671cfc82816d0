package resets_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/resets"
	"github.com/tieback/tieback/services/worker/workertest"
)

func TestEveryResetTypeHasAHandler(t *testing.T) {
	if _, err := worker.New(context.Background(), catalogue.Reset, resets.Handlers, worker.Deps{}); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, eventType string, raw []byte, e *workertest.ERP, p *workertest.Procore) ([]*tiebackv1.CloseOut, error) {
	t.Helper()
	task := workertest.Task(t, eventType, raw, e, p)
	task.Company.RemoveOnReset = true
	return resets.Handlers[eventType](context.Background(), task)
}

// masters are the resets of master data, for which the dictionary requires nothing in the ERP.
var masters = []string{"delete_standard_cost_codes", "delete_standard_categories", "delete_cost_code", "reset_job", "reset_sub_job"}

// By default the links are removed, and nothing is removed from the ERP or from Procore.
func TestResetKeepsMasterDataByDefault(t *testing.T) {
	for _, name := range masters {
		t.Run(name, func(t *testing.T) {
			e, p := world(), &workertest.Procore{}
			task := workertest.Task(t, name, workertest.Samples(t)[name], e, p)
			out, err := resets.Handlers[name](t.Context(), task)
			if err != nil {
				t.Fatal(err)
			}
			if len(e.Removed)+len(e.NextGenerations)+len(p.Requests) > 0 {
				t.Errorf("removed %v, next generations %v, calls %v", e.Removed, e.NextGenerations, p.Requests)
			}
			for _, c := range out {
				for _, m := range c.Marks {
					if origin, err := task.ForgottenLink(t.Context(), m.ItemType, m.ItemId); origin == "" || err != nil || m.OriginId != "" {
						t.Errorf("%v: forgotten link %q, error %v", m, origin, err)
					}
				}
			}
			workertest.Golden(t, "keep_"+name, e, p, out)
		})
	}
}

// If only its link were removed, a document would be booked twice, so it is always removed from the ERP.
func TestResetRemovesDocumentsFromTheERP(t *testing.T) {
	for _, row := range catalogue.Of(catalogue.Reset) {
		if slices.Contains(masters, row.Name) {
			continue
		}
		e := world()
		if _, err := resets.Handlers[row.Name](t.Context(), workertest.Task(t, row.Name, workertest.Samples(t)[row.Name], e, &workertest.Procore{})); err != nil || len(e.Removed) != 1 || len(e.NextGenerations) != 1 {
			t.Errorf("%s: removed %v, next generations %v, error %v", row.Name, e.Removed, e.NextGenerations, err)
		}
	}
}

// world returns an ERP with the records in the samples' jobs.
func world() *workertest.ERP {
	e := &workertest.ERP{Linked: map[string]string{"sub_job/5": "SUB-1", "cost_code/11": "CC-1", "cost_code/12": "CC-2", "cost_code/19": "CC-9", "budget/21": "BUD-1"}}
	for _, r := range []*tiebackv1.Record{
		{Entity: tiebackv1.Entity_ENTITY_SUB_JOB, OriginId: "SUB-1", JobOriginId: "project_origin_id"},
		{Entity: tiebackv1.Entity_ENTITY_COST_CODE, OriginId: "CC-1", JobOriginId: "project_origin_id"},
		{Entity: tiebackv1.Entity_ENTITY_COST_CODE, OriginId: "CC-2", JobOriginId: "project_origin_id", SubJobOriginId: "sub_job_origin_id"},
		{Entity: tiebackv1.Entity_ENTITY_COST_CODE, OriginId: "CC-9", JobOriginId: "another"},
		{Entity: tiebackv1.Entity_ENTITY_BUDGET, OriginId: "BUD-1", JobOriginId: "project_origin_id"},
	} {
		e.Add(r)
	}
	return e
}

func TestResetIsIdempotent(t *testing.T) {
	samples := workertest.Samples(t)
	for _, row := range catalogue.Of(catalogue.Reset) {
		t.Run(row.Name, func(t *testing.T) {
			e, p := world(), &workertest.Procore{}
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

// If the ERP refuses to remove a record, neither side changes, and no new generation starts.
func TestRefusedRemovalChangesNothing(t *testing.T) {
	samples := workertest.Samples(t)
	for _, row := range catalogue.Of(catalogue.Reset) {
		t.Run(row.Name, func(t *testing.T) {
			e, p := refusing(), &workertest.Procore{}
			out, err := run(t, row.Name, samples[row.Name], e, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range out {
				if c.Status != tiebackv1.Status_STATUS_FAILED || len(c.Messages) == 0 || len(c.Marks)+len(c.Unlinks) > 0 {
					t.Errorf("close-out %v", c)
				}
			}
			if len(p.Requests)+len(e.NextGenerations) > 0 {
				t.Errorf("calls %v, next generations %v", p.Requests, e.NextGenerations)
			}
		})
	}
}

func refusing() *workertest.ERP {
	e := world()
	e.RefuseRemove = fault.Permanentf("An invoice depends on it.")
	e.States = map[string]tiebackv1.RecordState{}
	for _, origin := range []string{
		"scc_origin_id", "standard_category_origin_id", "project_origin_id", "sub_job_origin_id", "cost_code_origin_id",
		"requisition_origin_id", "payment_origin_id", "123f4e60-3417-4a2e-99ae-ad0c0096513a", "direct_cost_origin_id",
	} {
		e.States[origin] = tiebackv1.RecordState_RECORD_STATE_PRESENT
	}
	return e
}

func TestOverrideResetsProcoreAnyway(t *testing.T) {
	for _, name := range []string{"reset_requisition", "reset_payment", "reset_company_level_direct_cost"} {
		raw := workertest.Edit(t, workertest.Samples(t)[name], `"reset_override":false`, `"reset_override":true`)
		e := refusing()
		out, err := run(t, name, raw, e, &workertest.Procore{})
		if err != nil || out[0].Status != tiebackv1.Status_STATUS_SUCCESS || len(out[0].Marks)+len(out[0].Unlinks) == 0 || len(e.NextGenerations) != 1 {
			t.Errorf("%s: %v, error %v, next generations %v", name, out, err, e.NextGenerations)
		}
	}
}

// The ERP can't remove records, but its user has deleted this one.
func TestResetOfADeletedRecordSucceeds(t *testing.T) {
	e := world()
	e.RefuseRemove = fault.Permanentf("This ERP does not let us remove anything.")
	out, err := run(t, "reset_payment", workertest.Samples(t)["reset_payment"], e, &workertest.Procore{})
	if err != nil || out[0].Status != tiebackv1.Status_STATUS_SUCCESS {
		t.Errorf("%v, error %v", out, err)
	}
}

func TestResetReturnsErrorsThatAreRetried(t *testing.T) {
	e := world()
	e.RefuseRemove = fault.New(fault.Ambiguous, errors.New("connection lost"))
	if _, err := run(t, "reset_job", workertest.Samples(t)["reset_job"], e, &workertest.Procore{}); fault.ClassOf(err) != fault.Ambiguous || err == nil {
		t.Errorf("error %v", err)
	}
	if len(e.NextGenerations) > 0 {
		t.Errorf("next generations %v", e.NextGenerations)
	}
}

// A record that Procore refuses to delete does not prevent the deletion of the next one.
func TestRefusedDeletionDoesNotAffectTheOthers(t *testing.T) {
	raw := []byte(`{"request_data":{"procore_project_id":2,"project_cost_code_data_array":[{"id":1,"origin_id":"a","sortable_code":"1"},{"id":2,"origin_id":"b","sortable_code":"2"}]}}`)
	p := &workertest.Procore{Status: map[string]int{"DELETE /rest/v1.0/cost_codes/1": 422, "DELETE /rest/v1.0/cost_codes/2": 404}}
	out, err := run(t, "delete_cost_code", raw, world(), p)
	if err != nil || len(out) != 2 || out[0].Status != tiebackv1.Status_STATUS_FAILED || out[1].Status != tiebackv1.Status_STATUS_SUCCESS {
		t.Errorf("%v, error %v", out, err)
	}
}

// An exported payment is linked as a contract payment, one synced from the ERP as an invoice payment. It is
// unlinked under the same type.
func TestPaymentIsUnlinkedUnderItsLinkedType(t *testing.T) {
	for want, linked := range map[string]map[string]string{
		"contract_payment": {"contract_payment/1": "payment_origin_id"},
		"invoice_payment":  {"contract_payment/1": "of-another-record"},
	} {
		e := world()
		e.Linked = linked
		p := &workertest.Procore{}
		out, err := run(t, "reset_payment", workertest.Samples(t)["reset_payment"], e, p)
		if err != nil || len(out[0].Unlinks) != 1 || out[0].Unlinks[0].ItemType != want {
			t.Errorf("%s: %v, error %v", want, out, err)
		}
		workertest.Golden(t, want+"_reset_payment", e, p, out)
	}
}

// A line of a prime contract change order may have markups.
func TestMarkupsAreUnsyncedWithTheirLine(t *testing.T) {
	raw := []byte(`{"prime_contract_change_order_id":79,"prime_contract_change_order_origin_id":"CO-1","prime_contract_change_order_line_items":[{"id":5,"markup_line_items":[{"id":6}]}]}`)
	e, p := world(), &workertest.Procore{}
	out, err := run(t, "reset_prime_contract_change_order", raw, e, p)
	if err != nil {
		t.Fatal(err)
	}
	workertest.Golden(t, "markup_reset_prime_contract_change_order", e, p, out)
}
