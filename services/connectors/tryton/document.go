package tryton

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// behind is the first sequence number of lines that are not the record's: retainage and tax.
const behind = 10000

// title returns the description in Tryton of a document, or of a line without one.
func title(r *record) string {
	return cmp.Or(r.Name, r.Code, r.Number, connector.Noun(r.Entity))
}

// reference returns the other party's number of a document.
func reference(r *record) string { return cmp.Or(r.Number, r.Code) }

// order adds the values of a purchase or a sale to a plan. It is quoted, so that it has a number and can
// still be cancelled.
func (w *work) order(plan object) error {
	r := w.r
	values := object{
		"company": w.facts.id, "party": w.partyID(w.facts.Owner), "currency": w.currency(), "invoice_method": "manual",
		"reference": reference(r), "description": title(r), "comment": r.Description,
	}
	if n := cmp.Or(r.Code, r.Number); n != "" {
		values["number"] = n
	}
	date := "purchase_date"
	if w.trait.model == sells {
		date, values["shipment_method"] = "sale_date", "manual"
	}
	if r.Date != "" {
		values[date] = day(r.Date)
	}
	if r.ContractOriginId != "" {
		values["origin"] = w.trait.model + "," + r.ContractOriginId
	}
	if p := r.RetainagePercent; p != "" { // Tryton has no field for it
		values["comment"] = strings.TrimSpace(r.Description + "\nRetainage: " + p + " percent")
	}
	lines, total := w.lines("", 0)
	taxes, tax := w.taxes(0)
	values["lines"] = append(lines, taxes...)
	plan["values"], plan["lines"], plan["code"], plan["total"] = values, len(r.Lines), "number", money{total.Add(tax)}
	plan["buttons"], plan["states"] = []string{"quote"}, []string{"quotation"}
	if w.config.confirm {
		plan["buttons"], plan["states"] = []string{"quote", "confirm"}, []string{"confirmed", "processing", "done"}
	}
	return nil
}

// invoice adds the values of an invoice to a plan. It is posted.
func (w *work) invoice(plan object) error {
	r := w.r
	kind, party, account, retainage := "in", w.facts.Sundry, w.facts.Expense, w.facts.RetainagePayable
	if r.Entity == paymentApplication {
		kind, party, account, retainage = "out", w.facts.Owner, w.facts.Revenue, w.facts.RetainageReceivable
	}
	date := day(cmp.Or(r.Date, time.Now().Format(time.DateOnly)))
	lines, total := w.lines(orderLine[r.Entity], account)
	taxes, tax := w.taxes(account)
	kept, withheld := w.withheld(retainage)
	values := object{
		"company": w.facts.id, "type": kind, "party": w.partyID(party), "currency": w.currency(), "with_account": true,
		"invoice_date": date, "accounting_date": date,
		"reference": reference(r), "description": title(r), "comment": r.Description,
		"lines": append(append(lines, kept...), taxes...),
	}
	if n := reference(r); kind == "out" && n != "" {
		values["number"] = n // Procore's number: Tryton's own must follow the dates, and invoices arrive in any order
	}
	plan["values"], plan["lines"], plan["code"], plan["total"] = values, len(r.Lines), "number", money{total.Add(tax).Sub(withheld)}
	plan["buttons"], plan["states"] = []string{"post"}, []string{"posted", "paid"}
	return nil
}

// orderLine is the model of the line that a line of an invoice bills.
var orderLine = map[entity]string{requisition: "purchase.line", directCost: "purchase.line", paymentApplication: "sale.line"}

// lines returns the record's lines, or one line with its amount if it has none. account 0 means lines of an
// order.
func (w *work) lines(origin string, account int64) (out []object, total decimal.Decimal) {
	all := w.r.Lines
	if len(all) == 0 {
		all = []*tiebackv1.Line{{
			Amount: w.r.Amount, Description: cmp.Or(w.r.Description, title(w.r)),
			CostCodeOriginId: w.r.CostCodeOriginId, CategoryOriginId: w.r.CategoryOriginId,
		}}
	}
	for i, l := range all {
		v := w.line(amount(l.Amount), cmp.Or(l.Description, title(w.r)), i+1, account)
		exact(v, l)
		if l.CostCodeOriginId != "" && l.CategoryOriginId != "" {
			v["leaf"] = []string{l.CostCodeOriginId, l.CategoryOriginId}
		}
		if origin != "" && l.ContractLineOriginId != "" {
			v["origin"] = origin + "," + l.ContractLineOriginId
		}
		out = append(out, v)
		total = total.Add(amount(l.Amount))
	}
	return out, total
}

func (w *work) line(amount decimal.Decimal, description string, sequence int, account int64) object {
	v := object{
		"type": "line", "quantity": 1, "unit": w.facts.Unit, "unit_price": money{amount},
		"description": description, "sequence": sequence,
	}
	if account != 0 {
		v["account"], v["company"], v["currency"] = account, w.facts.id, w.currency()
	}
	return v
}

// contractLines returns the lines of the contract that r bills or changes.
func contractLines(r *record) ([]string, error) {
	model := "purchase.line"
	if connector.ContractOf(r.Entity) == primeContract {
		model = "sale.line"
	}
	var out []string
	for i, l := range r.Lines {
		if l.ContractLineOriginId == "" {
			continue
		}
		if number(l.ContractLineOriginId) == 0 {
			return nil, fault.Refused("contract_line", "The contract line on line %d of the %s is unknown in Tryton (%q). Export its contract first, then export this again.",
				i+1, called(r), l.ContractLineOriginId)
		}
		out = append(out, model+","+l.ContractLineOriginId)
	}
	return out, nil
}

// exact sets the quantity and unit cost of a line if their product is its amount, to the cent, and Tryton can
// store them. Otherwise the line keeps a quantity of one.
func exact(v object, l *tiebackv1.Line) {
	quantity, cost := amount(l.Quantity), amount(l.UnitCost)
	fits := quantity.Equal(quantity.Round(4)) && cost.Equal(cost.Round(4)) && quantity.Abs().LessThan(decimal.New(1, 9))
	if fits && !quantity.IsZero() && quantity.Mul(cost).Equal(amount(l.Amount)) {
		v["quantity"], v["unit_price"] = json.Number(quantity.String()), money{cost}
	}
}

// withheld returns the lines that withhold retainage.
func (w *work) withheld(account int64) (out []object, total decimal.Decimal) {
	for i, l := range w.r.Lines {
		if kept := amount(l.Retainage); !kept.IsZero() {
			out = append(out, w.line(kept.Neg(), "Retainage: "+l.Description, behind+2*i, account))
			total = total.Add(kept)
		}
	}
	return out, total
}

// taxes returns the lines that add tax, with the tax code. account 0 means lines of an order. Tryton's own
// taxes are not used.
func (w *work) taxes(account int64) (out []object, total decimal.Decimal) {
	for i, l := range w.r.Lines {
		if tax := amount(l.TaxAmount); !tax.IsZero() || l.TaxCodeOriginId != "" {
			out = append(out, w.line(tax, strings.TrimSpace("Tax "+l.TaxCodeOriginId)+": "+l.Description, behind+2*i+1, account))
			total = total.Add(tax)
		}
	}
	if tax := amount(w.r.TaxAmount); !tax.IsZero() {
		out = append(out, w.line(tax, "Tax", behind+2*len(w.r.Lines)+1, account))
		total = total.Add(tax)
	}
	return out, total
}

// partyID returns the vendor's id, or otherwise if the record names none.
func (w *work) partyID(otherwise int64) int64 {
	if at := w.found.of(vendor, w.r.VendorOriginId); at != nil {
		return at.Resource
	}
	if at := w.r.VendorOriginId; at != "" { // the contract's vendor
		return number(at)
	}
	return otherwise
}

// payment adds the move of a payment to a plan.
func (w *work) payment(plan object) error {
	r := w.r
	paid := amount(r.Amount)
	if r.Amount == "" {
		for _, l := range r.Lines {
			paid = paid.Add(amount(l.Amount))
		}
	}
	if w.currency() != w.facts.Currency {
		return fault.Refused("currency", "The %s is in %s, and Tieback books payments in Tryton in the company's currency only. Enter it in Tryton by hand.", called(r), r.Currency)
	}
	by := object{"amount": money{paid}, "lines": len(r.Lines)}
	if at := w.found.of(requisition, r.ParentOriginId); at != nil {
		by["invoice"] = at.Resource
	}
	if r.VendorOriginId == "" && by["invoice"] == nil {
		return fault.Refused("requisition", "The %s names no subcontractor invoice and no vendor in Tryton. Export what it pays first, then export it again.", called(r))
	}
	by["party"] = w.partyID(0)
	plan["payment"], plan["code"] = by, "post_number"
	plan["values"] = object{
		"journal": w.facts.Bank.Journal, "account": w.facts.Bank.Account, "party_required": w.facts.Bank.PartyRequired,
		"date": day(cmp.Or(r.Date, time.Now().Format(time.DateOnly))), "description": cmp.Or(r.Number, title(r)),
	}
	return nil
}
