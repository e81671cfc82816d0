package tryton

import (
	"cmp"
	"context"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/shopspring/decimal"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// snapshotForm is the format of a PostgreSQL transaction snapshot.
var snapshotForm = regexp.MustCompile(`^\d{1,19}:\d{1,19}:(\d{1,19}(,\d{1,19})*)?$`)

// row is a record of any model as it is in Tryton now. Fields that a model lacks are empty.
type row struct {
	ID          int64
	Name        text
	Code        text
	Note        text
	Number      text
	Reference   text
	Description text
	Date        day
	Invoiced    day `json:"invoice_date"`
	Purchased   day `json:"purchase_date"`
	Sold        day `json:"sale_date"`
	State       text
	Type        text
	Debit       money
	Credit      money
	Untaxed     money `json:"untaxed_amount"`
	Posted      text  `json:"post_number"`
	Currency    struct {
		Code text
	} `json:"currency."`
	Addresses []struct {
		Street text
		City   text
		Zip    text `json:"postal_code"`
	} `json:"addresses."`
	Mechanisms []mechanism `json:"contact_mechanisms."`
	Lines      []line      `json:"lines."`
}

// line is a line of a document or of a move.
type line struct {
	ID          int64
	Sequence    int64
	Type        text
	Amount      money
	Debit       money
	Credit      money
	Description text
	Origin      text
	Leaves      []struct{ Account int64 } `json:"analytic_accounts."`
	PaymentOf   int64                     `json:"invoice_payment"`
	Account     int64
	Party       int64
}

var fieldsOf = map[string][]string{
	parties: {"name", "code", "addresses.street", "addresses.city", "addresses.postal_code",
		"contact_mechanisms.type", "contact_mechanisms.value"},
	accounts: {"name", "code", "note", "debit", "credit"},
	buys:     append([]string{"number", "reference", "description", "purchase_date"}, documentFields...),
	sells:    append([]string{"number", "reference", "description", "sale_date"}, documentFields...),
	invoices: append([]string{"number", "reference", "description", "invoice_date", "lines.origin"}, documentFields...),
	moves:    {"post_number", "description", "date", "lines.debit", "lines.credit", "lines.invoice_payment", "lines.party"},
}

var documentFields = []string{"state", "untaxed_amount", "currency.code", "lines.sequence", "lines.type", "lines.amount",
	"lines.description", "lines.analytic_accounts.account"}

// records reads the records of mappings, by their id in the model.
func (b *Books) records(ctx context.Context, f *facts, t trait, mappings map[int64]*mapping) (map[int64]*record, error) {
	out := map[int64]*record{}
	if len(mappings) == 0 {
		return out, nil
	}
	ids := slices.Sorted(maps.Keys(mappings))
	var rows []row
	with := f.context()
	with["active_test"] = false
	err := b.rpc.callWith(ctx, reads, with, &rows, "model."+t.model+".search_read", []any{[]any{"id", "in", ids}}, 0, nil, nil, fieldsOf[t.model])
	if err != nil {
		return nil, err
	}
	leaves, err := b.leaves(ctx, f, rows)
	if err != nil {
		return nil, err
	}
	for _, is := range rows {
		r, err := recordOf(t.entity, mappings[is.ID], is, leaves)
		if err != nil {
			return nil, err
		}
		out[is.ID] = r
	}
	return out, nil
}

// leaves returns the mappings of the leaf accounts of lines, by account.
func (b *Books) leaves(ctx context.Context, f *facts, rows []row) (map[int64]*mapping, error) {
	on := map[int64]*mapping{}
	for _, r := range rows {
		for _, l := range r.Lines {
			for _, a := range l.Leaves {
				on[a.Account] = nil
			}
		}
	}
	if len(on) == 0 {
		return on, nil
	}
	var mappings []*mapping
	err := b.rpc.callWith(ctx, reads, f.context(), &mappings, "model.tieback.record.search_read", []any{
		[]any{"entity", "=", name(assignment)}, []any{"resource", "in", slices.Sorted(maps.Keys(on))},
	}, 0, nil, nil, []string{"resource", "origin", "job", "sub_job", "cost_code", "category"})
	for _, at := range mappings {
		on[at.Resource] = at
	}
	return on, err
}

// recordOf returns the record that was booked, with its current values in Tryton.
func recordOf(e entity, f *mapping, is row, leaves map[int64]*mapping) (*record, error) {
	r, err := f.booked()
	if err != nil {
		return nil, err
	}
	if r == nil {
		r = &record{Entity: e, OriginId: f.Origin, ProcoreId: f.Procore}
	}
	f.owners(r)
	switch e {
	case vendor:
		is.vendor(r)
	case jobCost:
		r.Amount, r.ActualAmount = "0", is.Debit.Sub(is.Credit.Decimal).String()
	case payment:
		is.payment(r)
	case job, subJob, costCode, assignment, standardCostCode, standardCategory:
		r.Name, r.Code, r.Description = is.Name, is.Code, is.Note
	default:
		if f.Data == "" {
			r.Currency = is.Currency.Code
		}
		is.document(r, leaves)
	}
	return r, nil
}

func (is row) vendor(r *record) {
	r.Name, r.Code = is.Name, is.Code
	if r.Contact == nil {
		r.Contact = &tiebackv1.Contact{}
	}
	if len(is.Addresses) > 0 {
		a := is.Addresses[0]
		r.Contact.Street, r.Contact.City, r.Contact.Zip = a.Street, a.City, a.Zip
	}
	for _, m := range slices.Backward(is.Mechanisms) {
		switch m.Type {
		case "phone":
			r.Contact.Phone = m.Value
		case "email":
			r.Contact.Email = m.Value
		case "website":
			r.Contact.Website = m.Value
		}
	}
}

// payment reads the side of the move that has the party.
func (is row) payment(r *record) {
	paid, linked := decimal.Zero, false
	slices.SortFunc(is.Lines, func(a, b line) int { return int(a.ID - b.ID) }) // the payable comes first
	for _, l := range is.Lines {
		if l.PaymentOf != 0 {
			paid, linked = paid.Add(l.Debit.Sub(l.Credit.Decimal)), true
		}
	}
	if i := slices.IndexFunc(is.Lines, func(l line) bool { return l.Party != 0 }); !linked && i >= 0 {
		paid = is.Lines[i].Debit.Sub(is.Lines[i].Credit.Decimal)
	}
	r.Amount = same(r.Amount, paid)
	r.Date, r.Code = cmp.Or(string(is.Date), r.Date), cmp.Or(r.Code, is.Posted)
	r.Name = cmp.Or(r.Name, is.Description)
}

// same keeps the text of an amount that is still equal.
func same(was string, is decimal.Decimal) string {
	if d, ok := parse(was); ok && was != "" && d.Equal(is) {
		return was
	}
	return is.String()
}

func (is row) document(r *record, leaves map[int64]*mapping) {
	title, reference := title(r), reference(r)
	if is.Reference != reference {
		r.Number = is.Reference
	}
	if is.Description != title {
		r.Name = is.Description
	}
	if r.Code == "" || modelOf(r.Entity) != invoices {
		r.Code = is.Number
	}
	r.Date = cmp.Or(string(is.Invoiced)+string(is.Purchased)+string(is.Sold), r.Date)
	if len(r.Lines) == 0 && r.Amount != "" {
		r.Amount = same(r.Amount, is.Untaxed.Sub(amount(r.TaxAmount)))
		return
	}
	before := total(r.Lines)
	r.Lines = is.lines(r, title, leaves)
	if after := total(r.Lines); r.Amount == "" || !before.Equal(after) {
		r.Amount = after.String()
	}
}

func total(lines []*tiebackv1.Line) (sum decimal.Decimal) {
	for _, l := range lines {
		sum = sum.Add(amount(l.Amount))
	}
	return sum
}

// lines returns the current lines of the document. The values with which a line was booked stay as long as
// its amount does.
func (is row) lines(r *record, title string, leaves map[int64]*mapping) []*tiebackv1.Line {
	was := map[string]*tiebackv1.Line{}
	for _, l := range r.Lines {
		was[l.OriginId] = l
	}
	slices.SortFunc(is.Lines, func(a, b line) int { return int(a.Sequence - b.Sequence) })
	var out []*tiebackv1.Line
	for _, l := range is.Lines {
		if l.Type != "line" || l.Sequence >= behind && len(was) > 0 {
			continue
		}
		at := was[strconv.FormatInt(l.ID, 10)]
		if at == nil {
			at = l.entered(len(out)+1, leaves)
		} else if !amount(at.Amount).Equal(l.Amount.Decimal) {
			at.Amount, at.Quantity, at.UnitCost = l.Amount.String(), "", ""
		}
		if l.Description != cmp.Or(at.Description, title) {
			at.Description = l.Description
		}
		out = append(out, at)
	}
	return out
}

// entered returns a line that was entered in Tryton.
func (l line) entered(position int, leaves map[int64]*mapping) *tiebackv1.Line {
	out := &tiebackv1.Line{OriginId: strconv.FormatInt(l.ID, 10), Amount: l.Amount.String(), Position: int32(position)}
	for _, a := range l.Leaves {
		if leaf := leaves[a.Account]; leaf != nil {
			out.JobOriginId, out.SubJobOriginId = leaf.Job, leaf.SubJob
			out.CostCodeOriginId, out.CategoryOriginId = leaf.CostCode, leaf.Category
		}
	}
	for _, model := range []string{"purchase.line,", "sale.line,"} {
		if len(l.Origin) > len(model) && l.Origin[:len(model)] == model {
			out.ContractLineOriginId = l.Origin[len(model):]
		}
	}
	return out
}
