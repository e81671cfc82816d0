package payload

import (
	"cmp"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// PrimeContractChangeOrder reads create_prime_contract_change_order: items, and each item's
// markups as lines of their own right after it.
func PrimeContractChangeOrder(q Request) ([]Document, error) {
	r := q.reader("prime contract change order")
	o := r.object(q.Data, "prime_contract_change_order")
	contract := r.object(q.Data, "prime_contract")
	rec := r.contract(tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER, o)
	rec.JobOriginId = q.Data.Object("project").Text("origin_id")
	rec.ContractOriginId = contract.Text("origin_id")
	rec.Date = cmp.Or(r.date(o.Object("erp_custom_fields"), "transaction_date"), r.date(o, "approved_on", "reviewed_at"))
	d := Document{Record: rec, ItemType: "change_order", LineType: "line_item"}
	d.standing(o)
	if deleted(contract) {
		r.refuse("contract", "its prime contract is deleted in Procore.")
	}
	d.refer(&rec.ContractOriginId, cmp.Or(r.ref(contract, "id"), r.ref(o, "contract_id")),
		"The prime contract of this change order is not in your ERP system. Import it from there first, then export the change order again.", "prime_contract")
	d.refer(&rec.JobOriginId, r.ref(q.Data.Object("project"), "id"), "", "project")
	items := r.live(q.Data, "prime_contract_change_order_items")
	r.currency(rec, []Object{o, contract}, items)
	for _, item := range items {
		r.primeItem(&d, item)
	}
	r.total(rec, len(r.list(q.Data, "prime_contract_change_order_items")), "grand_total", r.decimal(o, "grand_total")) // published as "Total including markup"
	return []Document{r.finish(&d)}, r.err
}

// primeItem books an item and its markups. The item's amount includes the markups (343.85 is
// 299.00 and 44.85 of markup), so they are taken out of it, unless the extended amount shows
// that they are not in it, or stands for an amount that is missing. An item with markups that has
// neither of the two is refused: the published sample has a total of 299.00 there, without markup,
// but that a total never has markup in it is not published.
func (r *reader) primeItem(d *Document, o Object) {
	l := r.item(d, o, len(d.Record.Lines)+1)
	l.ContractLineOriginId = o.Text("prime_line_item_origin_id")
	d.refer(&l.ContractLineOriginId, r.ref(o, "prime_line_item_id"), "", "line_item")
	r.referItem(d, l, o)
	d.Record.Lines = append(d.Record.Lines, l)
	markups := decimal.Zero
	for _, m := range r.live(o, "markup_line_items") {
		line := r.markup(d, m, l)
		r.referItem(d, line, o)
		markups = markups.Add(value(line.Amount))
		d.Record.Lines = append(d.Record.Lines, line)
	}
	amount, extended := r.decimal(o, "amount"), r.decimal(o, "extended_amount")
	if amount == "" && extended == "" && l.Amount != "" && !markups.IsZero() {
		r.refuse("amount", "%s has no amount, and Procore does not say whether its markup of %s is in its total of %s. Enter the amount in Procore, then export again.",
			line(int(l.Position)), markups, l.Amount)
	}
	included := amount != "" && (extended == "" || !value(extended).Equal(value(l.Amount)))
	if included && !markups.IsZero() {
		l.Amount = value(l.Amount).Sub(markups).String()
	}
}

// markup goes to the cost code and cost type it names, otherwise to its item's.
func (r *reader) markup(d *Document, o Object, item *tiebackv1.Line) *tiebackv1.Line {
	m := o.Object("markup")
	l := &tiebackv1.Line{
		ProcoreId: r.id(o, "id"), OriginId: o.Text("origin_id"), Kind: "markup", Position: int32(len(d.Record.Lines) + 1),
		Description: m.Text("name"), Amount: r.required("the markup on "+line(int(item.Position)), o, "amount"), JobOriginId: item.JobOriginId,
		SubJobOriginId:       cmp.Or(m.Object("destination_sub_job").Text("origin_id"), item.SubJobOriginId),
		CostCodeOriginId:     cmp.Or(m.Object("destination_cost_code").Text("origin_id"), item.CostCodeOriginId),
		CategoryOriginId:     cmp.Or(m.Object("destination_line_item_type").Text("origin_id"), item.CategoryOriginId),
		ContractLineOriginId: m.Object("prime_line_item").Text("origin_id"),
	}
	d.refer(&l.ContractLineOriginId, r.ref(m.Object("prime_line_item"), "id"), "", "line_item")
	return l
}

// PaymentApplication reads create_payment_application, our invoice to the owner. The payload
// names its prime contract by Procore's id only.
func PaymentApplication(q Request) ([]Document, error) {
	r := q.reader("payment application")
	o := r.object(q.Data, "payment_application")
	rec := r.record(tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION, o)
	rec.Number = o.Text("invoice_number")
	rec.Code = cmp.Or(rec.Code, rec.Number)
	rec.Description = o.Text("contract_name")
	rec.Date = r.date(o, "billing_date")
	rec.StartsOn, rec.EndsOn = r.date(o, "period_start"), r.date(o, "period_end")
	d := Document{Record: rec, ItemType: "payment_application", LineType: "payment_application_line_item"}
	d.standing(o)
	held := false
	for i, item := range r.live(o, "items") {
		if item.Text("holder_type") == "PrimeContract" && !held {
			held = true
			d.refer(&rec.ContractOriginId, r.ref(item, "holder_id"), "", "prime_contract")
		}
		rec.Lines = append(rec.Lines, r.applicationItem(&d, item, i+1))
	}
	for i, item := range r.live(o, "items") {
		r.billedLine(&d, rec.Lines[i], item)
	}
	r.currency(rec, []Object{o}, r.live(o, "items"))
	r.documentTax(&d, o)
	r.paymentDue(rec, o)
	return []Document{r.finish(&d)}, r.err
}

// paymentDue holds the payment due of an application against its lines. The payment due is what is
// earned less retainage, to date, less the earlier certificates. It tells about this period only
// where those certificates are what the lines carry over from earlier periods; otherwise the two
// can't be compared. That tax is or is not in it is not published.
func (r *reader) paymentDue(rec *tiebackv1.Record, o Object) {
	summary := o.Object("summary")
	due := r.decimal(summary, "current_payment_due")
	if len(rec.Lines) == 0 {
		r.total(rec, len(r.list(o, "items")), "current_payment_due", due)
		return
	}
	r.total(rec, len(rec.Lines), "amount", "")
	before := decimal.Zero
	for _, item := range r.live(o, "items") {
		before = before.Add(r.amount(item, "work_completed_from_previous_application")).
			Add(r.amount(item, "materials_presently_stored_from_previous_application")).
			Sub(r.amount(item, "total_retainage_from_previous_application"))
	}
	certified := r.decimal(summary, "less_previous_certificates_for_payment")
	amount, tax, retainage := sums(rec.Lines)
	net, tax := amount.Sub(retainage), tax.Add(value(rec.TaxAmount))
	if due == "" || certified == "" || !value(certified).Equal(before) || fits(value(due), net, tax, len(rec.Lines)) {
		return
	}
	r.refuse("current_payment_due", "its payment due in Procore is %s, and its lines, less their retainage, come to %s. Correct it in Procore, then export again.", due, net)
}

// applicationItem bills what this period added: work completed in it, and the change of what
// is stored. Retainage is what this period holds back less what it releases. Procore leaves the
// materials out of lines that are billed by units, if they have none.
func (r *reader) applicationItem(d *Document, o Object, position int) *tiebackv1.Line {
	billed := value(r.required(line(position), o, "work_completed_this_period"))
	now, before := r.decimal(o, "materials_presently_stored"), r.decimal(o, "materials_presently_stored_from_previous_application")
	if o.Text("accounting_method") != "unit" || now != "" || before != "" {
		billed = billed.Add(value(r.stored(o, position))).
			Sub(value(r.required(line(position), o, "materials_presently_stored_from_previous_application")))
	}
	l := &tiebackv1.Line{
		ProcoreId: r.id(o, "id"), Kind: "payment_application_line_item", Position: int32(position),
		Description: cmp.Or(o.Text("description_override"), o.Text("description_of_work")),
		Amount:      billed.String(), TaxAmount: r.decimal(o, "tax_amount"),
		Retainage: r.withheld(o, position).String(), RetainagePercent: r.percent(o, "work_completed_retainage_percent_this_period"),
	}
	r.taxCode(d, l, o)
	return l
}

// stored is what a line has stored now: published as such, and as what was stored before and what
// is new.
func (r *reader) stored(o Object, position int) string {
	before, fresh := r.decimal(o, "stored_materials"), r.decimal(o, "new_materials")
	if r.decimal(o, "materials_presently_stored") == "" && before != "" && fresh != "" {
		return value(before).Add(value(fresh)).String()
	}
	return r.required(line(position), o, "materials_presently_stored")
}

// withheldFrom has the amounts that each kind of retainage is held back from.
var withheldFrom = []struct {
	kind    string
	amounts []string
}{
	{"work_completed", []string{"work_completed_this_period", "work_completed_from_previous_application"}},
	{"materials_stored", []string{"materials_presently_stored", "stored_materials", "new_materials", "materials_presently_stored_from_previous_application"}},
}

// withheld is what a line holds back in this period less what it releases. A retained amount that
// is missing is none where its percentage is missing or zero, or where the line has nothing to hold
// it back from, in this period or before.
func (r *reader) withheld(o Object, position int) decimal.Decimal {
	sum := decimal.Zero
	for _, w := range withheldFrom {
		retained := r.decimal(o, w.kind+"_retainage_retained_this_period")
		some := slices.ContainsFunc(w.amounts, func(name string) bool { return !r.amount(o, name).IsZero() })
		if retained == "" && some && !r.amount(o, w.kind+"_retainage_percent_this_period").IsZero() {
			r.required(line(position), o, w.kind+"_retainage_retained_this_period")
		}
		sum = sum.Add(value(retained)).Sub(r.amount(o, w.kind+"_retainage_released_this_period"))
	}
	return sum
}

// billedLine says which line of the contract an item bills. Its origin_id with origin_type
// LineItem is Procore's own pair of words for that line: a number is Procore's id of it.
func (r *reader) billedLine(d *Document, l *tiebackv1.Line, o Object) {
	origin := o.Text("origin_id")
	if o.Text("origin_type") != "LineItem" || origin == "" {
		return
	}
	if strings.Trim(origin, "0123456789") == "" {
		d.refer(&l.ContractLineOriginId, r.ref(o, "origin_id"), "", "line_item")
		return
	}
	l.ContractLineOriginId = origin
}
