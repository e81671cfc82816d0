package payload

import (
	"cmp"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// PrimeContractChangeOrder reads create_prime_contract_change_order. The markups of each item follow it as
// lines of their own.
func PrimeContractChangeOrder(q Request) ([]Document, error) {
	r := q.reader("prime contract change order")
	o := r.object(q.Data, "prime_contract_change_order")
	contract := r.object(q.Data, "prime_contract")
	rec := r.contract(tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER, o)
	rec.JobOriginId = q.Data.Object("project").Text("origin_id")
	rec.ContractOriginId = contract.Text("origin_id")
	rec.Date = cmp.Or(r.date(o.Object("erp_custom_fields"), "transaction_date"), r.date(o, "approved_on", "reviewed_at"))
	d := Document{Record: rec, ItemType: "change_order", LineType: "line_item"}
	d.setStatus(o)
	if deleted(contract) {
		r.refuse("contract", "its prime contract is deleted in Procore.")
	}
	d.addRef(&rec.ContractOriginId, cmp.Or(r.ref(contract, "id"), r.ref(o, "contract_id")),
		"The prime contract of this change order is not in your ERP system. Import it from there first, then export the change order again.", "prime_contract")
	d.addRef(&rec.JobOriginId, r.ref(q.Data.Object("project"), "id"), "", "project")
	items := r.undeleted(q.Data, "prime_contract_change_order_items")
	r.currency(rec, []Object{o, contract}, items)
	for _, item := range items {
		r.primeItem(&d, item)
	}
	r.setTotal(rec, len(r.list(q.Data, "prime_contract_change_order_items")), "grand_total", r.decimal(o, "grand_total")) // published as "Total including markup"
	return []Document{r.finish(&d)}, r.err
}

// primeItem adds an item and its markups. The item's amount includes the markups (343.85 is 299.00 plus 44.85
// of markup), so they are subtracted from it, unless the extended amount shows that they are not included, or
// replaces a missing amount. An item with markups that has neither amount is refused: in the published sample
// its total is 299.00, without markup, but it is not published that this is always so.
func (r *reader) primeItem(d *Document, o Object) {
	l := r.item(d, o, len(d.Record.Lines)+1)
	l.ContractLineOriginId = o.Text("prime_line_item_origin_id")
	d.addRef(&l.ContractLineOriginId, r.ref(o, "prime_line_item_id"), "", "line_item")
	r.addLineRefs(d, l, o)
	d.Record.Lines = append(d.Record.Lines, l)
	markups := decimal.Zero
	for _, m := range r.undeleted(o, "markup_line_items") {
		line := r.markup(d, m, l)
		r.addLineRefs(d, line, o)
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

// markup reads a markup. It is booked on the cost code and cost type that it names, otherwise on those of its
// item.
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
	d.addRef(&l.ContractLineOriginId, r.ref(m.Object("prime_line_item"), "id"), "", "line_item")
	return l
}

// PaymentApplication reads create_payment_application, an invoice to the owner. The payload names its prime
// contract only by Procore's id.
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
	d.setStatus(o)
	found := false
	for i, item := range r.undeleted(o, "items") {
		if item.Text("holder_type") == "PrimeContract" && !found {
			found = true
			d.addRef(&rec.ContractOriginId, r.ref(item, "holder_id"), "", "prime_contract")
		}
		rec.Lines = append(rec.Lines, r.applicationItem(&d, item, i+1))
	}
	for i, item := range r.undeleted(o, "items") {
		r.setContractLine(&d, rec.Lines[i], item)
	}
	r.currency(rec, []Object{o}, r.undeleted(o, "items"))
	r.documentTax(&d, o)
	r.checkPaymentDue(rec, o)
	return []Document{r.finish(&d)}, r.err
}

// checkPaymentDue compares the payment due of an application with its lines. The payment due is what is
// earned less retainage, to date, less the earlier certificates. It is comparable with the lines of this
// period only if the certificates equal the amounts that the lines carry over from earlier periods. It is not
// published whether it includes tax.
func (r *reader) checkPaymentDue(rec *tiebackv1.Record, o Object) {
	summary := o.Object("summary")
	due := r.decimal(summary, "current_payment_due")
	if len(rec.Lines) == 0 {
		r.setTotal(rec, len(r.list(o, "items")), "current_payment_due", due)
		return
	}
	r.setTotal(rec, len(rec.Lines), "amount", "")
	before := decimal.Zero
	for _, item := range r.undeleted(o, "items") {
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

// applicationItem reads a line that bills what this period added: work completed, and the change in stored
// materials. Retainage is what this period holds back less what it releases. Procore leaves materials out of
// lines that are billed by units and have none.
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

// stored returns the materials presently stored of a line: the published amount, or the sum of those stored
// before and the new ones.
func (r *reader) stored(o Object, position int) string {
	before, fresh := r.decimal(o, "stored_materials"), r.decimal(o, "new_materials")
	if r.decimal(o, "materials_presently_stored") == "" && before != "" && fresh != "" {
		return value(before).Add(value(fresh)).String()
	}
	return r.required(line(position), o, "materials_presently_stored")
}

// withheldFrom lists the amounts that each kind of retainage is held back from.
var withheldFrom = []struct {
	kind    string
	amounts []string
}{
	{"work_completed", []string{"work_completed_this_period", "work_completed_from_previous_application"}},
	{"materials_stored", []string{"materials_presently_stored", "stored_materials", "new_materials", "materials_presently_stored_from_previous_application"}},
}

// withheld returns what a line holds back in this period less what it releases. A missing retained amount
// counts as zero if its percentage is missing or zero, or if the line has no amount to hold it back from, in
// this period or before.
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

// setContractLine sets the contract line that an item bills. Its origin_id with origin_type LineItem names
// that line in Procore's own terms: a number is Procore's id of the line.
func (r *reader) setContractLine(d *Document, l *tiebackv1.Line, o Object) {
	origin := o.Text("origin_id")
	if o.Text("origin_type") != "LineItem" || origin == "" {
		return
	}
	if strings.Trim(origin, "0123456789") == "" {
		d.addRef(&l.ContractLineOriginId, r.ref(o, "origin_id"), "", "line_item")
		return
	}
	l.ContractLineOriginId = origin
}
