package tryton

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// Modules are the modules of Tryton that the driver needs, and ours.
var Modules = []string{
	"party", "company", "currency", "product", "account", "account_invoice", "account_product", "purchase", "sale",
	"analytic_account", "analytic_purchase", "analytic_invoice", "analytic_sale", "tieback",
}

// firstYear and lastYear are the fiscal years that SetUp opens.
const (
	firstYear = 2020
	lastYear  = 2030
)

// SetUp makes a working company in a database with Modules activated: currency, chart of accounts, fiscal
// years with periods from 2020 to 2030, payment method and retainage accounts. It takes some seconds.
// settings are those of Open. SetUp does not change what a company of that name already has, so it may run
// again. currency is an ISO code.
func SetUp(ctx context.Context, settings map[string]string, company, currency string) error {
	c, err := read(settings)
	if err != nil {
		return err
	}
	s := &setUp{client: newClient(c), name: company, code: currency}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"company", s.company}, {"chart of accounts", s.chart}, {"accounts", s.accounts}, {"fiscal years", s.years},
		{"payments", s.payments}, {"facts of the module", s.facts},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("set up the %s: %w", step.what, err)
		}
	}
	return nil
}

// setUp is a company that is being set up.
type setUp struct {
	*client
	name, code string

	id       int64 // the company's id
	currency int64
	payable  int64 // accounts
	receive  int64
	expense  int64
	revenue  int64
	cash     int64
}

func (s *setUp) call(ctx context.Context, out any, method string, params ...any) error {
	with := object{}
	if s.id != 0 {
		with["company"] = s.id
	}
	return s.callWith(ctx, writes, with, out, method, params...)
}

// make creates one record and returns its id.
func (s *setUp) make(ctx context.Context, model string, values object) (int64, error) {
	var ids []int64
	if err := s.call(ctx, &ids, "model."+model+".create", []object{values}); err != nil {
		return 0, fmt.Errorf("%s: %w", model, err)
	}
	return ids[0], nil
}

// search returns the first id that matches a domain, or 0 if there is none.
func (s *setUp) search(ctx context.Context, model string, domain ...any) (int64, error) {
	var ids []int64
	if domain == nil {
		domain = []any{}
	}
	err := s.call(ctx, &ids, "model."+model+".search", domain, 0, 1, nil)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	return ids[0], nil
}

func (s *setUp) company(ctx context.Context) error {
	var err error
	if s.id, err = s.search(ctx, "company.company", []any{"party.name", "=", s.name}); err != nil || s.id != 0 {
		return err
	}
	if s.currency, err = s.money(ctx); err != nil {
		return err
	}
	party, err := s.make(ctx, "party.party", object{"name": s.name, "addresses": create(object{})})
	if err != nil {
		return err
	}
	if s.id, err = s.make(ctx, "company.company", object{"party": party, "currency": s.currency}); err != nil {
		return err
	}
	user, err := s.search(ctx, "res.user", []any{"login", "=", s.user})
	if err != nil {
		return err
	}
	err = s.call(ctx, nil, "model.res.user.write", []int64{user}, object{"companies": []any{[]any{"add", []int64{s.id}}}, "company": s.id})
	s.logOut(s.session) // the next call sees the company in the user's preferences
	return err
}

// money returns the company's currency, which it creates with a rate of 1 if necessary.
func (s *setUp) money(ctx context.Context) (int64, error) {
	id, err := s.search(ctx, "currency.currency", []any{"code", "=", s.code})
	if id != 0 || err != nil {
		return id, err
	}
	one := object{"date": day("2000-01-01"), "rate": money{decimal.RequireFromString("1")}}
	return s.make(ctx, "currency.currency", object{"name": s.code, "symbol": s.code, "code": s.code, "digits": 2,
		"rounding": money{decimal.RequireFromString("0.01")}, "rates": create(one)})
}

// chart runs Tryton's wizard with its English template.
func (s *setUp) chart(ctx context.Context) error {
	if s.main(ctx) == nil {
		return nil
	}
	template, err := s.search(ctx, "account.account.template", []any{"parent", "=", nil}, []any{"name", "=", "Minimal Account Chart"})
	if template == 0 && err == nil {
		template, err = s.search(ctx, "account.account.template", []any{"parent", "=", nil})
	}
	if err != nil {
		return err
	}
	var started []any
	if err := s.call(ctx, &started, "wizard.account.create_chart.create"); err != nil {
		return err
	}
	session := started[0]
	form := object{"company": s.id, "account_template": template}
	if err := s.call(ctx, nil, "wizard.account.create_chart.execute", session, object{"account": form}, "create_account"); err != nil {
		return err
	}
	if err := s.main(ctx); err != nil {
		return err
	}
	form = object{"company": s.id, "account_receivable": s.receive, "account_payable": s.payable,
		"category_account_expense": s.expense, "category_account_revenue": s.revenue}
	return s.call(ctx, nil, "wizard.account.create_chart.execute", session, object{"properties": form}, "create_properties")
}

// main finds the accounts of the chart by their purpose.
func (s *setUp) main(ctx context.Context) (err error) {
	for _, a := range []struct {
		to     *int64
		domain []any
	}{
		{&s.receive, []any{"type.receivable", "=", true}}, {&s.payable, []any{"type.payable", "=", true}},
		{&s.expense, []any{"type.expense", "=", true}}, {&s.revenue, []any{"type.revenue", "=", true}},
		{&s.cash, []any{"name", "ilike", "%cash%"}},
	} {
		*a.to, err = s.search(ctx, "account.account", a.domain, []any{"company", "=", s.id}, []any{"closed", "!=", true})
		if err == nil && *a.to == 0 {
			err = fmt.Errorf("the chart has no account for %v", a.domain)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// accounts creates the retainage accounts: a liability on which invoices may be booked, and a revenue.
func (s *setUp) accounts(ctx context.Context) error {
	var root []struct{ Parent int64 }
	if err := s.call(ctx, &root, "model.account.account.read", []int64{s.expense}, []string{"parent"}); err != nil {
		return err
	}
	for _, a := range []struct{ name, flag, like string }{
		{"Retainage payable", "debt", "payable"}, {"Retainage receivable", "revenue", "revenue"},
	} {
		if there, err := s.search(ctx, "account.account", []any{"name", "=", a.name}, []any{"company", "=", s.id}); there != 0 || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		kind, err := s.kind(ctx, a.name, a.flag, a.like)
		if err != nil {
			return err
		}
		if _, err := s.make(ctx, "account.account", object{"name": a.name, "company": s.id, "parent": root[0].Parent, "type": kind}); err != nil {
			return err
		}
	}
	return nil
}

// kind returns an account type with a flag. It has the place of the like type in the statements.
func (s *setUp) kind(ctx context.Context, name, flag, like string) (int64, error) {
	id, err := s.search(ctx, "account.account.type", []any{flag, "=", true}, []any{"company", "=", s.id})
	if id != 0 || err != nil {
		return id, err
	}
	beside, err := s.search(ctx, "account.account.type", []any{like, "=", true}, []any{"company", "=", s.id})
	if err != nil {
		return 0, err
	}
	var rows []struct {
		Parent    int64
		Statement text
	}
	if err := s.call(ctx, &rows, "model.account.account.type.read", []int64{beside}, []string{"parent", "statement"}); err != nil {
		return 0, err
	}
	return s.make(ctx, "account.account.type", object{"name": name, "company": s.id, "parent": rows[0].Parent,
		"statement": rows[0].Statement, flag: true})
}

// years opens the fiscal years with monthly periods. Invoices are numbered without gaps.
func (s *setUp) years(ctx context.Context) error {
	bills, err := s.sequence(ctx, "ir.sequence.strict", "Invoice", "Bills of suppliers")
	if err != nil {
		return err
	}
	invoices, err := s.sequence(ctx, "ir.sequence.strict", "Invoice", "Invoices to customers")
	for y := firstYear; y <= lastYear && err == nil; y++ {
		err = s.year(ctx, y, bills, invoices)
	}
	return err
}

func (s *setUp) year(ctx context.Context, y int, bills, invoices int64) error {
	there, err := s.search(ctx, "account.fiscalyear", []any{"name", "=", fmt.Sprint(y)}, []any{"company", "=", s.id})
	if there != 0 || err != nil {
		return err
	}
	post, err := s.sequence(ctx, "ir.sequence", "Account Move", fmt.Sprintf("Posted moves %d", y))
	if err != nil {
		return err
	}
	_, err = s.make(ctx, "account.fiscalyear", object{
		"name": fmt.Sprint(y), "company": s.id, "start_date": day(fmt.Sprintf("%d-01-01", y)), "end_date": day(fmt.Sprintf("%d-12-31", y)),
		"post_move_sequence": post,
		"invoice_sequences": create(object{"company": s.id, "in_invoice_sequence": bills, "in_credit_note_sequence": bills,
			"out_invoice_sequence": invoices, "out_credit_note_sequence": invoices}),
		"periods": create(months(y)...),
	})
	return err
}

func months(year int) (out []object) {
	for m := time.January; m <= time.December; m++ {
		first := time.Date(year, m, 1, 0, 0, 0, 0, time.UTC)
		out = append(out, object{"name": first.Format("2006-01"), "type": "standard",
			"start_date": day(first.Format(time.DateOnly)), "end_date": day(first.AddDate(0, 1, -1).Format(time.DateOnly))})
	}
	return out
}

func (s *setUp) sequence(ctx context.Context, model, kind, name string) (int64, error) {
	there, err := s.search(ctx, model, []any{"name", "=", name}, []any{"company", "=", s.id})
	if there != 0 || err != nil {
		return there, err
	}
	of, err := s.search(ctx, "ir.sequence.type", []any{"name", "=", kind})
	if err != nil {
		return 0, err
	}
	return s.make(ctx, model, object{"name": name, "sequence_type": of, "company": s.id})
}

// payments creates a bank's payment method, and allows invoices to customers to be cancelled.
func (s *setUp) payments(ctx context.Context) error {
	there, err := s.search(ctx, "account.invoice.payment.method", []any{"company", "=", s.id})
	if there != 0 || err != nil {
		return err
	}
	journal, err := s.search(ctx, "account.journal", []any{"type", "=", "cash"})
	if err != nil {
		return err
	}
	if _, err = s.make(ctx, "account.invoice.payment.method", object{"name": "Bank", "company": s.id, "journal": journal,
		"debit_account": s.cash, "credit_account": s.cash}); err != nil {
		return err
	}
	return s.call(ctx, nil, "model.company.company.write", []int64{s.id}, object{"cancel_invoice_out": true})
}

func (s *setUp) facts(ctx context.Context) error {
	return s.call(ctx, nil, "model.tieback.company.facts", s.id)
}

// Ready returns an error unless a trytond responds at url.
func Ready(ctx context.Context, url string) error {
	_, err := newClient(config{url: strings.TrimSuffix(url, "/") + "/"}).version(ctx)
	return err
}
