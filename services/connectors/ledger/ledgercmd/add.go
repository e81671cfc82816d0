package ledgercmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/shopspring/decimal"
	"github.com/spf13/pflag"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
)

// addFlags are the flags that describe a new record.
type addFlags struct {
	rec ledger.Record // its references may be codes
	raw []string      // --line
}

func (a *addFlags) define(f *pflag.FlagSet) {
	for _, d := range []struct {
		to         *string
		name, help string
	}{
		{&a.rec.Name, "name", "name"}, {&a.rec.Code, "code", "code"},
		{&a.rec.Description, "description", "description"}, {&a.rec.Status, "status", "status"},
		{&a.rec.Kind, "kind", "commitment: purchase_order_contract or work_order_contract"},
		{&a.rec.Number, "number", "an invoice's, check's or policy's number"},
		{&a.rec.Date, "date", "accounting date, YYYY-MM-DD"}, {&a.rec.Currency, "currency", "ISO code; the company's if left out"},
		{&a.rec.Amount, "amount", "total, such as 1234.50; the sum of the lines if left out"},
		{&a.rec.ActualAmount, "actual", "job cost: cost to date"},
		{&a.rec.VendorOriginId, "vendor", "vendor"}, {&a.rec.JobOriginId, "job", "job"}, {&a.rec.SubJobOriginId, "sub-job", "sub job"},
		{&a.rec.ContractOriginId, "contract", "commitment or prime contract"},
		{&a.rec.ParentOriginId, "parent", "payment: its requisition; cost code: its parent"},
		{&a.rec.CostCodeOriginId, "cost-code", "assignment, job cost: cost code"},
		{&a.rec.CategoryOriginId, "category", "assignment, job cost: standard category"},
		{&a.rec.StandardOriginId, "standard", "cost code: its standard cost code"},
	} {
		f.StringVar(d.to, d.name, "", d.help)
	}
	f.StringArrayVar(&a.raw, "line", nil, `"cost_code,category,amount,description"; once for each line`)
}

// lines reads the --line flags.
func (a *addFlags) lines() ([]*tiebackv1.Line, error) {
	var out []*tiebackv1.Line
	for i, s := range a.raw {
		part := strings.SplitN(s, ",", 4)
		if len(part) < 3 {
			return nil, fmt.Errorf("--line %q: must be \"cost_code,category,amount,description\"; parts may be empty, but the first two commas are required", s)
		}
		part = append(part, "")
		for j := range part {
			part[j] = strings.TrimSpace(part[j])
		}
		out = append(out, &tiebackv1.Line{
			CostCodeOriginId: part[0], CategoryOriginId: part[1], Amount: part[2], Description: part[3], Position: int32(i + 1),
		})
	}
	return out, nil
}

// record returns the record, with origin ids for the codes of the records that it refers to.
func (a *addFlags) record(ctx context.Context, b *ledger.Books, e ledger.Entity) (*ledger.Record, error) {
	r := &a.rec
	r.Entity = e
	var err error
	if r.Lines, err = a.lines(); err != nil {
		return nil, err
	}
	look := lookup{ctx: ctx, books: b}
	look.up(ledger.Job, &r.JobOriginId)
	look.job = r.JobOriginId
	look.up(ledger.SubJob, &r.SubJobOriginId)
	look.up(ledger.Vendor, &r.VendorOriginId)
	contract := ledger.Commitment
	if e == ledger.PrimeContractChangeOrder || e == ledger.PaymentApplication {
		contract = ledger.PrimeContract
	}
	look.up(contract, &r.ContractOriginId)
	switch e {
	case ledger.Payment:
		look.up(ledger.Requisition, &r.ParentOriginId)
	case ledger.CostCode:
		look.up(ledger.CostCode, &r.ParentOriginId)
	}
	look.up(ledger.StandardCostCode, &r.StandardOriginId)
	look.up(ledger.CostCode, &r.CostCodeOriginId)
	look.up(ledger.StandardCategory, &r.CategoryOriginId)
	for _, l := range r.Lines {
		look.up(ledger.CostCode, &l.CostCodeOriginId)
		look.up(ledger.StandardCategory, &l.CategoryOriginId)
	}
	if r.Amount == "" {
		r.Amount = sum(r.Lines)
	}
	return r, look.err
}

func sum(lines []*tiebackv1.Line) string {
	if len(lines) == 0 {
		return ""
	}
	total := decimal.Zero
	for _, l := range lines {
		d, err := decimal.NewFromString(l.Amount)
		if err != nil {
			return "" // the ledger refuses the line
		}
		total = total.Add(d)
	}
	return total.String()
}

// lookup replaces codes by origin ids. It leaves an unknown code unchanged; the ledger refuses it.
type lookup struct {
	ctx   context.Context
	books *ledger.Books
	job   string
	err   error
}

func (l *lookup) up(e ledger.Entity, s *string) {
	if *s == "" || l.err != nil {
		return
	}
	all, err := l.books.All(l.ctx, e)
	if err != nil {
		l.err = err
		return
	}
	var byCode []string
	for _, r := range all {
		if r.OriginId == *s {
			return
		}
		if r.Code == *s && (l.job == "" || r.JobOriginId == "" || r.JobOriginId == l.job) {
			byCode = append(byCode, r.OriginId)
		}
	}
	switch {
	case len(byCode) == 1:
		*s = byCode[0]
	case len(byCode) > 1:
		l.err = fmt.Errorf("the code %q names several %ss: %s; give the origin id", *s, ledger.Title(e), strings.Join(byCode, ", "))
	}
}
