package ledger

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/shopspring/decimal"
)

// Account is an account number of the chart.
type Account int

// The chart of accounts. Accounts from 9000 on are memo accounts, for commitments and budgets.
const (
	Cash                Account = 1000
	Receivable          Account = 1100
	RetainageReceivable Account = 1150
	InputTax            Account = 1300
	Payable             Account = 2000
	RetainagePayable    Account = 2050
	OutputTax           Account = 2300
	BroughtForward      Account = 3000
	Revenue             Account = 4000
	JobCosts            Account = 5000
	Budgeted            Account = 9000
	BudgetControl       Account = 9009
	Committed           Account = 9100
	CommittedTax        Account = 9105
	CommittedControl    Account = 9109
	ContractValue       Account = 9200
	ContractTax         Account = 9205
	ContractControl     Account = 9209
)

// rule has the accounts that an entity moves, for a positive amount:
//
//	entity                          lines           tax            debit or credit   against
//	budget                          Budgeted                       debit             BudgetControl
//	commitment, its change orders   Committed       CommittedTax   debit             CommittedControl
//	requisition                     JobCosts        InputTax       debit             Payable, RetainagePayable
//	payment                         Payable                        debit             Cash
//	prime contract, change orders   ContractValue   ContractTax    debit             ContractControl
//	payment application             Revenue         OutputTax      credit            Receivable, RetainageReceivable
//	direct cost                     JobCosts        InputTax       debit             Payable, RetainagePayable
//
// Tax is added to an amount, retainage is withheld from it. validMoney refuses tax or retainage that has no account.
// An entry is in one currency.
type rule struct {
	line, against, retainage, tax Account
	credit                        bool
}

var rules = map[Entity]rule{
	Budget:                   {line: Budgeted, against: BudgetControl},
	Commitment:               {line: Committed, against: CommittedControl, tax: CommittedTax},
	CommitmentChangeOrder:    {line: Committed, against: CommittedControl, tax: CommittedTax},
	Requisition:              {line: JobCosts, against: Payable, retainage: RetainagePayable, tax: InputTax},
	Payment:                  {line: Payable, against: Cash},
	PrimeContract:            {line: ContractValue, against: ContractControl, tax: ContractTax},
	PrimeContractChangeOrder: {line: ContractValue, against: ContractControl, tax: ContractTax},
	PaymentApplication:       {line: Revenue, against: Receivable, retainage: RetainageReceivable, tax: OutputTax, credit: true},
	DirectCost:               {line: JobCosts, against: Payable, retainage: RetainagePayable, tax: InputTax},
}

// posting is one line of an entry. A debit is positive, a credit negative.
type posting struct {
	account            Account
	costCode, category string
	amount             decimal.Decimal
}

// entry is a journal entry; amount is that of the document.
type entry struct {
	date, currency string
	memo           string
	amount         decimal.Decimal
	reverses       int64
	legs           []posting
}

// plan returns the entry of a record, or nil if it moves no money.
func (t *tx) plan(r *Record) (*entry, error) {
	rule, ok := rules[r.GetEntity()]
	if !ok {
		return nil, nil
	}
	currency, err := t.currencyOf(r)
	if err != nil {
		return nil, err
	}
	e := &entry{date: r.GetDate(), currency: currency, memo: call(r)}
	amount := decimal.Zero
	if len(r.GetLines()) == 0 {
		amount = known(r.GetAmount())
	}
	e.book(rule, amount, decimal.Zero, known(r.GetTaxAmount()), "", "")
	for _, l := range r.GetLines() {
		e.book(rule, known(l.GetAmount()), known(l.GetRetainage()), known(l.GetTaxAmount()), l.GetCostCodeOriginId(), l.GetCategoryOriginId())
	}
	if len(e.legs) == 0 {
		return nil, nil
	}
	return e, nil
}

// book adds the postings of one line.
func (e *entry) book(r rule, amount, retainage, tax decimal.Decimal, costCode, category string) {
	e.amount = e.amount.Add(amount)
	rest := amount.Add(tax).Sub(retainage)
	for _, p := range []posting{
		{r.line, costCode, category, amount}, {r.tax, "", "", tax},
		{r.retainage, "", "", retainage.Neg()}, {r.against, "", "", rest.Neg()},
	} {
		if r.credit {
			p.amount = p.amount.Neg()
		}
		e.leg(p)
	}
}

// leg adds a posting. Postings to one account without a cost code are added up.
func (e *entry) leg(p posting) {
	if p.amount.IsZero() {
		return
	}
	for i := range e.legs {
		if q := &e.legs[i]; p.costCode == "" && q.costCode == "" && q.account == p.account {
			q.amount = q.amount.Add(p.amount)
			return
		}
	}
	e.legs = append(e.legs, p)
}

func (e *entry) same(o *entry) bool {
	if e == nil || o == nil {
		return e == o
	}
	if e.date != o.date || e.currency != o.currency || len(e.legs) != len(o.legs) || !e.amount.Equal(o.amount) {
		return false
	}
	for i, p := range e.legs {
		q := o.legs[i]
		if p.account != q.account || p.costCode != q.costCode || p.category != q.category || !p.amount.Equal(q.amount) {
			return false
		}
	}
	return true
}

// rebook reverses the entries of the old row and writes the entry of the new one.
func (t *tx) rebook(next, old *row) error {
	want, err := t.plan(next.rec)
	if err != nil {
		return err
	}
	if old != nil && !old.deleted {
		was, err := t.plan(old.rec)
		if err != nil || want.same(was) {
			return err
		}
		if err := t.reverse(next, "changed: "+call(next.rec)); err != nil {
			return err
		}
	}
	if want == nil {
		return nil
	}
	return t.post(next.id, want)
}

// post writes an entry and updates its job costs. It refuses an entry that does not balance, which is a bug.
func (t *tx) post(recordID int64, e *entry) error {
	sum := decimal.Zero
	for _, p := range e.legs {
		sum = sum.Add(p.amount)
	}
	if !sum.IsZero() {
		return fmt.Errorf("ledger: entry for %s is out of balance by %s", e.memo, sum)
	}
	var reverses any
	if e.reverses != 0 {
		reverses = e.reverses
	}
	id, err := t.insert("INSERT INTO entries (record_id, at, date, currency, amount, memo, reverses) VALUES (?, ?, ?, ?, ?, ?, ?)",
		recordID, time.Now().UTC().Format(time.RFC3339Nano), e.date, e.currency, e.amount.String(), e.memo, reverses)
	if err != nil {
		return err
	}
	for n, p := range e.legs {
		if err := t.exec("INSERT INTO postings VALUES (?, ?, ?, ?, ?, ?)", id, n, int(p.account), p.costCode, p.category, p.amount.String()); err != nil {
			return err
		}
		if err := t.accrue(e, p); err != nil {
			return err
		}
	}
	return nil
}

// reverse writes a reversal of every entry of a record that is still in effect.
func (t *tx) reverse(r *row, memo string) error {
	var standing []*entry
	err := t.each(func(rows *sql.Rows) error {
		e := &entry{memo: memo}
		var amount string
		err := rows.Scan(&e.reverses, &e.date, &e.currency, &amount)
		e.amount = stored(amount).Neg()
		standing = append(standing, e)
		return err
	}, "SELECT e.id, e.date, e.currency, e.amount FROM entries e WHERE e.record_id = ? AND e.reverses IS NULL"+
		" AND NOT EXISTS (SELECT 1 FROM entries x WHERE x.reverses = e.id)", r.id)
	for i := 0; err == nil && i < len(standing); i++ {
		if err = t.opposite(standing[i]); err == nil {
			err = t.post(r.id, standing[i])
		}
	}
	return err
}

// opposite fills in the postings of a reversal.
func (t *tx) opposite(e *entry) error {
	return t.each(func(rows *sql.Rows) error {
		var p posting
		var amount string
		err := rows.Scan(&p.account, &p.costCode, &p.category, &amount)
		p.amount = stored(amount).Neg()
		e.legs = append(e.legs, p)
		return err
	}, "SELECT account, cost_code, category, amount FROM postings WHERE entry_id = ? ORDER BY n", e.reverses)
}
