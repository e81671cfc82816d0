package payload

import (
	"cmp"
	"fmt"

	"github.com/shopspring/decimal"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Budget reads create_budget and update_budget. An ERP books the lines, so each amount must be in them once:
//
//	with transactions, first or later export   a line for each transaction: they are the changes, and they get marks
//	without, first export                      a line for each job cost, with its current amount
//	without, later export                      no lines: all changes are booked already
//
// The amount is the total of the job costs, which is the sum of all transactions so far. It is informational.
func Budget(q Request) ([]Document, error) {
	r := q.reader("budget")
	o := r.object(q.Data, "budget")
	rec := r.record(tiebackv1.Entity_ENTITY_BUDGET, o)
	rec.JobOriginId = cmp.Or(q.Data.Text("job_id"), q.Data.Text("job_origin_id"))
	d := Document{Record: rec, ItemType: "budget", Project: r.id(o, "project_id")}
	d.setStatus(o)
	d.addRef(&rec.JobOriginId, d.Project, "The job of this budget is not in your ERP system. Export the job first, then export the budget again.", "project")
	costs := r.list(q.Data, "job_costs")
	r.currency(rec, []Object{o}, costs)
	rec.Lines = r.transactions(q.Data, costs, rec.JobOriginId)
	if len(rec.Lines) == 0 && rec.OriginId == "" {
		rec.Lines = r.jobCosts(costs, rec.JobOriginId)
	}
	for _, l := range rec.Lines {
		d.addRef(&l.JobOriginId, d.Project, "", "project")
	}
	rec.Amount = r.budgeted(costs)
	return []Document{r.finish(&d)}, r.err
}

// budgeted returns the total of the job costs, or "" if one of them has no amount.
func (r *reader) budgeted(costs []Object) string {
	total := decimal.Zero
	for _, c := range costs {
		if deleted(c) {
			continue
		}
		amount := r.decimal(c, "new_amount")
		if amount == "" {
			return ""
		}
		total = total.Add(value(amount))
	}
	return total.String()
}

func (r *reader) transactions(data Object, costs []Object, job string) []*tiebackv1.Line {
	byID := make(map[int64]Object, len(costs))
	for _, c := range costs {
		byID[r.id(c, "id")] = c
	}
	var out []*tiebackv1.Line
	for i, t := range r.undeleted(data, "transactions") {
		cost, ok := byID[r.ref(t, "job_cost_id")]
		if !ok {
			r.malformed("transaction %d belongs to a job cost that is not in the budget", r.ref(t, "id"))
		}
		l := costLine(cost, job, i+1)
		l.ProcoreId, l.OriginId, l.Kind = r.id(t, "id"), t.Text("origin_id"), "erp_transaction"
		l.Description = cmp.Or(t.Text("notes"), t.Text("code"), t.Text("type"))
		l.Amount = r.required(fmt.Sprintf("transaction %d", l.ProcoreId), t, "value")
		out = append(out, l)
	}
	return out
}

func (r *reader) jobCosts(costs []Object, job string) []*tiebackv1.Line {
	var out []*tiebackv1.Line
	for i, c := range costs {
		if deleted(c) {
			continue
		}
		l := costLine(c, job, i+1)
		l.ProcoreId, l.Amount = r.id(c, "id"), r.required(line(i+1), c, "new_amount")
		out = append(out, l)
	}
	return out
}

func costLine(cost Object, job string, position int) *tiebackv1.Line {
	return &tiebackv1.Line{
		Position: int32(position), JobOriginId: cmp.Or(cost.Text("job_origin_id"), job), SubJobOriginId: cost.Text("sub_job_origin_id"),
		CostCodeOriginId: cost.Text("cost_code_origin_id"), CategoryOriginId: cost.Text("line_item_type_origin_id"),
	}
}
