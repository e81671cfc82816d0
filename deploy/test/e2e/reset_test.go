package endtoend

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
)

// job returns a create_or_update_job payload with a code, whose cost codes have no cost types.
func (w *world) job(code string) map[string]any {
	w.Helper()
	payload, err := w.sandbox.Sample(firstCompany, "create_or_update_job", nil)
	w.must(err)
	sandbox.Set(payload, "request_data.job.origin_code", code)
	sandbox.Set(payload, "request_data.all_cost_codes[].line_item_types", []any{})
	sandbox.Set(payload, "request_data.all_cost_codes[].standard_cost_code_origin_id", nil)
	return payload
}

// reset resets a job in Procore.
func (w *world) reset(project int64, origin string) {
	w.Helper()
	payload, err := w.sandbox.Sample(firstCompany, "reset_job", nil)
	w.must(err)
	sandbox.Set(payload, "request_data.project.id", project)
	sandbox.Set(payload, "request_data.project.origin_id", origin)
	request := w.pressIn(firstCompany, "reset_job", payload)
	if w.wait(request); w.isDead(request) {
		w.Errorf("the reset of job %s is dead-lettered", origin)
	}
}

// A job that is reset stays in the ERP with its cost codes. Its next export finds it, and nothing is booked twice.
func TestResetJobIsFoundAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.run()
	payload := w.job("J-100")
	project := procore.ID(payload["request_data"].(map[string]any)["job"].(map[string]any)["id"])
	w.succeeded(w.pressIn(firstCompany, "create_or_update_job", payload))
	before := fmt.Sprint(w.origins(l, ledger.Job), w.origins(l, ledger.CostCode))
	marked, _ := w.sandbox.Record(firstCompany, "project", project)
	w.reset(project, marked.OriginID)
	if r, _ := w.sandbox.Record(firstCompany, "project", project); r.OriginID != "" || fmt.Sprint(w.origins(l, ledger.Job), w.origins(l, ledger.CostCode)) != before {
		t.Errorf("after the reset Procore has %q, and the ERP %v", r.OriginID, w.origins(l, ledger.Job))
	}
	w.succeeded(w.pressIn(firstCompany, "create_or_update_job", payload))
	if r, _ := w.sandbox.Record(firstCompany, "project", project); r.OriginID != marked.OriginID || fmt.Sprint(w.origins(l, ledger.Job), w.origins(l, ledger.CostCode)) != before {
		t.Errorf("exported again Procore has %q, want %q, and the ERP %v %v, want %s", r.OriginID, marked.OriginID, w.origins(l, ledger.Job), w.origins(l, ledger.CostCode), before)
	}
}

// A job that came from the ERP has no key there. The reset records its origin id, by which the next export finds it.
func TestResetJobFromERPIsFoundAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.run()
	books, err := l.Ledger.Company(w.Context(), firstCompany)
	w.must(err)
	added, err := books.Add(w.Context(), &ledger.Record{Entity: ledger.Job, Name: "Tower", Code: "J-200"})
	w.must(err)
	w.must(books.Close())
	payload := w.job("J-200")
	project := procore.ID(payload["request_data"].(map[string]any)["job"].(map[string]any)["id"])
	w.failed(w.pressIn(firstCompany, "create_or_update_job", payload), "if it is the same job, sync it from the ledger instead")
	w.must(w.sandbox.Link(firstCompany, "project", project, added.OriginId))
	w.reset(project, added.OriginId)
	w.succeeded(w.pressIn(firstCompany, "create_or_update_job", payload))
	if r, _ := w.sandbox.Record(firstCompany, "project", project); r.OriginID != added.OriginId || len(w.origins(l, ledger.Job)) != 1 {
		t.Errorf("Procore has %q, and the ERP %v, want %s", r.OriginID, w.origins(l, ledger.Job), added.OriginId)
	}
}

// With `resets: remove` a reset deletes the records in the ERP, and codes in Procore as well.
func TestResetsRemoveRecordsIfConfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{resets: "remove", driver: yesERPs()})
	w.run()
	for event, path := range map[string]string{
		"delete_standard_cost_codes": "/rest/v1.0/standard_cost_codes/", "delete_standard_categories": "/rest/v1.0/line_item_types/", "delete_cost_code": "/rest/v1.0/cost_codes/",
	} {
		w.sandbox.ForgetCalls()
		request := w.press(event)
		if w.wait(request); w.isDead(request) {
			t.Errorf("%s is dead-lettered", event)
		}
		if !slices.ContainsFunc(w.sandbox.Writes(), func(c sandbox.Call) bool {
			return c.Method == "DELETE" && strings.HasPrefix(c.Path, path) && c.Status < 300
		}) {
			t.Errorf("%s deleted nothing: %v", event, w.sandbox.Writes())
		}
	}
}

// budget returns a create_budget payload with one job cost and one transaction of 100, without an origin id.
func (w *world) budget(project int64, costCode, category string) map[string]any {
	w.Helper()
	job, _ := w.sandbox.Record(firstCompany, "project", project)
	payload, err := w.sandbox.Sample(firstCompany, "create_budget", nil)
	w.must(err)
	for path, value := range map[string]any{
		"job_id": job.OriginID, "budget.project_id": project, "budget.origin_id": nil,
		"job_costs[].new_amount": 100, "job_costs[].job_origin_id": job.OriginID, "job_costs[].sub_job_origin_id": nil,
		"job_costs[].cost_code_origin_id": costCode, "job_costs[].line_item_type_origin_id": category,
		"transactions[].value": 100,
	} {
		sandbox.Set(payload, "request_data."+path, value)
	}
	return payload
}

// After its job is reset, Procore sends a budget with all of its transactions or, as they are marked, with none. The ledger has it once.
func TestBudgetIsBookedOnceAcrossReset(t *testing.T) {
	t.Parallel()
	for _, transactions := range []bool{true, false} {
		t.Run(fmt.Sprintf("transactions again %v", transactions), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			l := w.run()
			books, err := l.Ledger.Company(w.Context(), firstCompany)
			w.must(err)
			defer func() { w.must(books.Close()) }()
			category, err := books.Add(w.Context(), &ledger.Record{Entity: ledger.StandardCategory, Name: "Material", Code: "M"})
			w.must(err)
			job := w.job("J-100")
			project := procore.ID(job["request_data"].(map[string]any)["job"].(map[string]any)["id"])
			w.succeeded(w.pressIn(firstCompany, "create_or_update_job", job))
			costCode := w.origins(l, ledger.CostCode)[0]
			budget := w.budget(project, costCode, category.OriginId)
			id := procore.ID(budget["request_data"].(map[string]any)["budget"].(map[string]any)["id"])
			w.succeeded(w.pressIn(firstCompany, "create_budget", budget))
			before, _ := w.sandbox.Record(firstCompany, "budget", id)

			marked, _ := w.sandbox.Record(firstCompany, "project", project)
			w.reset(project, marked.OriginID)
			if after, _ := w.sandbox.Record(firstCompany, "budget", id); before.OriginID == "" || after.OriginID != before.OriginID {
				t.Errorf("after the reset Procore has the budget %q, want %q", after.OriginID, before.OriginID)
			}
			w.succeeded(w.pressIn(firstCompany, "create_or_update_job", job))
			if !transactions {
				sandbox.Set(budget, "request_data.transactions", []any{})
			}
			w.succeeded(w.pressIn(firstCompany, "create_budget", budget))
			if after, _ := w.sandbox.Record(firstCompany, "budget", id); after.OriginID != before.OriginID {
				t.Errorf("after the export Procore has the budget %q, want %q", after.OriginID, before.OriginID)
			}
			costs, err := books.All(w.Context(), ledger.JobCost)
			w.must(err)
			if len(costs) != 1 || costs[0].Amount != "100" && costs[0].Amount != "100.00" {
				t.Errorf("the ledger has the job costs %v, want one of 100", costs)
			}
		})
	}
}

// origins returns the origin ids of an entity in the ERP.
func (w *world) origins(l *line, e ledger.Entity) (out []string) {
	w.Helper()
	for _, r := range w.sound(l.Ledger, firstCompany, e) {
		out = append(out, r.OriginId)
	}
	return out
}
