package ledger

import (
	"cmp"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
)

// A job cost has the sums of a cost code and a category: amount is the budget, actual_amount the cost to date. Every
// posting to Budgeted or JobCosts changes it in the same transaction, so it equals the journal, and List returns its
// changes. A job cost is in the currency of its first posting; a posting in another currency is refused.

// openJobCost creates the job cost of an assignment, unless it is live.
func (t *tx) openJobCost(assignment *Record) error {
	row, err := t.jobCost(assignment.GetCostCodeOriginId(), assignment.GetCategoryOriginId())
	if err != nil || row.id != 0 && !row.deleted {
		return err
	}
	return t.saveJobCost(row)
}

// jobCost returns a job cost, or a new one that is not saved yet.
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

// saveJobCost saves a job cost as live. Its references never change, so they are written once.
func (t *tx) saveJobCost(r *row) error {
	fresh := r.id == 0
	r.deleted = false
	if err := t.save(r); err != nil || !fresh {
		return err
	}
	return t.depend(r.id, r.rec)
}

// accrue adds a posting of an entry to its job cost. A reversal does not restore a removed job cost.
func (t *tx) accrue(e *entry, p posting) error {
	if p.costCode == "" || p.category == "" || p.account != Budgeted && p.account != JobCosts {
		return nil
	}
	row, err := t.jobCost(p.costCode, p.category)
	if err != nil {
		return err
	}
	if err := t.inCurrency(row, e.currency, e.memo); err != nil {
		return err
	}
	if p.account == Budgeted {
		row.rec.Amount = stored(row.rec.Amount).Add(p.amount).String()
	} else {
		row.rec.ActualAmount = stored(row.rec.ActualAmount).Add(p.amount).String()
	}
	if row.deleted && e.reverses != 0 {
		return t.save(row)
	}
	return t.saveJobCost(row)
}

// inCurrency refuses a posting in another currency to a job cost. A job cost without a posting that is still in effect
// gets the new currency.
func (t *tx) inCurrency(row *row, currency, what string) error {
	r := row.rec
	if r.Currency == "" || r.Currency == currency {
		r.Currency = currency
		return nil
	}
	var one int
	standing, err := t.get([]any{&one}, "SELECT 1 FROM postings p JOIN entries e ON e.id = p.entry_id"+
		" WHERE p.cost_code = ? AND p.category = ? AND p.account IN (?, ?) AND e.currency = ? AND e.reverses IS NULL"+
		" AND NOT EXISTS (SELECT 1 FROM entries x WHERE x.reverses = e.id) LIMIT 1",
		r.CostCodeOriginId, r.CategoryOriginId, int(Budgeted), int(JobCosts), r.Currency)
	if err != nil {
		return err
	}
	if standing {
		return fault.Refused("currency", "The %s is in %s, and the cost code %s with the category %s has amounts in %s. Choose a cost code that is kept in %s, then export it again.",
			what, currency, r.CostCodeOriginId, r.CategoryOriginId, r.Currency, currency)
	}
	r.Currency = currency
	return nil
}

// writeJobCost sets the amounts of a job cost by booking the difference. An empty amount is left unchanged.
func (t *tx) writeJobCost(r *Record) (*row, error) {
	row, err := t.jobCost(r.GetCostCodeOriginId(), r.GetCategoryOriginId())
	if err != nil {
		return nil, err
	}
	if r.ProcoreId != 0 {
		row.rec.ProcoreId = r.ProcoreId
	}
	row.rec.Name, row.rec.Description = cmp.Or(r.Name, row.rec.Name), cmp.Or(r.Description, row.rec.Description)
	if err := t.saveJobCost(row); err != nil {
		return nil, err
	}
	own, err := t.own()
	if err != nil {
		return nil, err
	}
	e := &entry{date: r.GetDate(), currency: cmp.Or(r.GetCurrency(), row.rec.Currency, own), memo: call(row.rec)}
	if err := t.inCurrency(row, e.currency, e.memo); err != nil {
		return nil, err
	}
	e.set(r.GetAmount(), row.rec.Amount, posting{Budgeted, r.CostCodeOriginId, r.CategoryOriginId, decimal.Zero}, BudgetControl)
	e.set(r.GetActualAmount(), row.rec.ActualAmount, posting{JobCosts, r.CostCodeOriginId, r.CategoryOriginId, decimal.Zero}, BroughtForward)
	if len(e.legs) > 0 {
		if err := t.post(row.id, e); err != nil {
			return nil, err
		}
	}
	return t.find(JobCost, row.rec.OriginId)
}

// set adds the legs that change an account from one amount to another. It adds none if want is empty.
func (e *entry) set(want, is string, p posting, against Account) {
	if want == "" {
		return
	}
	p.amount = known(want).Sub(stored(is))
	e.amount = e.amount.Add(p.amount)
	e.leg(p)
	e.leg(posting{account: against, amount: p.amount.Neg()})
}
