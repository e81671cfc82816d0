package ledger

import (
	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/connector"
)

// A job cost is what a cost code and a category come to: amount is the budget, actual_amount
// the cost to date. Nobody keeps these by hand: every posting to Budgeted or JobCosts moves
// them in the same transaction, so they equal the journal and List sees them change.

// openJobCost gives an assignment its job cost, at zero if nothing was posted yet.
func (t *tx) openJobCost(assignment *Record) error {
	row, err := t.jobCost(assignment.GetCostCodeOriginId(), assignment.GetCategoryOriginId())
	if err != nil || row.id != 0 && !row.deleted {
		return err
	}
	return t.saveJobCost(row)
}

// jobCost finds the job cost or makes a new one, not yet saved.
func (t *tx) jobCost(costCode, category string) (*row, error) {
	got, err := t.find(JobCost, connector.AssignmentID(costCode, category))
	if err != nil || got != nil {
		return got, err
	}
	r := &Record{
		Entity: JobCost, OriginId: connector.AssignmentID(costCode, category),
		CostCodeOriginId: costCode, CategoryOriginId: category, Amount: "0", ActualAmount: "0",
	}
	return &row{rec: r}, t.inherit(r)
}

// saveJobCost writes a live job cost. What it refers to never changes, so only a new one says it.
func (t *tx) saveJobCost(r *row) error {
	fresh := r.id == 0
	r.deleted = false
	if err := t.save(r); err != nil || !fresh {
		return err
	}
	return t.depend(r.id, r.rec)
}

// accrue adds a posting to its job cost. A reversal does not bring a removed one back.
func (t *tx) accrue(p posting, reversal bool) error {
	if p.costCode == "" || p.category == "" || p.account != Budgeted && p.account != JobCosts {
		return nil
	}
	row, err := t.jobCost(p.costCode, p.category)
	if err != nil {
		return err
	}
	if p.account == Budgeted {
		row.rec.Amount = stored(row.rec.Amount).Add(p.amount).String()
	} else {
		row.rec.ActualAmount = stored(row.rec.ActualAmount).Add(p.amount).String()
	}
	if row.deleted && reversal {
		return t.save(row)
	}
	return t.saveJobCost(row)
}

// writeJobCost sets a job cost's amounts by booking what is missing to them; an empty
// amount stays as it is.
func (t *tx) writeJobCost(r *Record) (*row, error) {
	row, err := t.jobCost(r.GetCostCodeOriginId(), r.GetCategoryOriginId())
	if err != nil {
		return nil, err
	}
	if r.ProcoreId != 0 {
		row.rec.ProcoreId = r.ProcoreId
	}
	row.rec.Name, row.rec.Description = or(r.Name, row.rec.Name), or(r.Description, row.rec.Description)
	if err := t.saveJobCost(row); err != nil {
		return nil, err
	}
	e := &entry{date: r.GetDate(), currency: r.GetCurrency(), memo: call(row.rec)}
	e.set(r.GetAmount(), row.rec.Amount, posting{Budgeted, r.CostCodeOriginId, r.CategoryOriginId, decimal.Zero}, BudgetControl)
	e.set(r.GetActualAmount(), row.rec.ActualAmount, posting{JobCosts, r.CostCodeOriginId, r.CategoryOriginId, decimal.Zero}, BroughtForward)
	if len(e.legs) > 0 {
		if err := t.post(row.id, e); err != nil {
			return nil, err
		}
	}
	return t.find(JobCost, row.rec.OriginId)
}

// set adds the legs that bring an account from what it is to what it shall be.
func (e *entry) set(want, is string, p posting, against Account) {
	if want == "" {
		return
	}
	p.amount = known(want).Sub(stored(is))
	e.amount = e.amount.Add(p.amount)
	e.leg(p)
	e.leg(posting{account: against, amount: p.amount.Neg()})
}
