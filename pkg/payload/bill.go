package payload

import (
	"cmp"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// requisitionItems maps the types of a requisition's lines to item types.
var requisitionItems = map[string]string{
	"Billings::ContractItem":       "requisition_contract_item",
	"Billings::ContractDetailItem": "requisition_contract_detail_item",
	"Billings::ChangeOrderItem":    "requisition_change_order_item",
}

// Requisitions reads create_requisitions: subcontractors' invoices, one document each.
func Requisitions(q Request) ([]Document, error) {
	r := q.reader("subcontractor invoice")
	list := r.list(q.Data, "requisitions")
	if len(list) == 0 {
		r.malformed("the list is empty")
	}
	if r.err != nil {
		return nil, r.err
	}
	var out []Document
	for _, o := range list {
		out = append(out, r.requisition(o))
	}
	return out, nil
}

func (r *reader) requisition(o Object) Document {
	rec := &tiebackv1.Record{
		Entity: tiebackv1.Entity_ENTITY_REQUISITION, ProcoreId: r.id(o, "procore_requisition_id"),
		OriginId: o.Text("origin_id"), OriginData: o.Text("origin_data"), CustomFields: customFields(o),
		Code: cmp.Or(o.Text("origin_code"), o.Text("code")), Number: o.Text("invoice_number"), Status: o.Text("status"),
		Date: r.date(o, "billing_date"), JobOriginId: o.Text("job_origin_id"), ContractOriginId: o.Text("contract_origin_id"),
	}
	d := Document{Record: rec, ItemType: "requisition", Detail: r.ref(o, "request_detail_id")}
	d.setStatus(o)
	d.addRef(&rec.ContractOriginId, r.ref(o, "contract_id"),
		"The commitment of this subcontractor invoice is not in your ERP system. Export the commitment first, then export the invoice again.", workOrder, purchaseOrder)
	items := r.undeleted(o, "line_items")
	r.currency(rec, []Object{o}, items)
	for i, item := range items {
		l := r.requisitionItem(&d, item, i+1)
		d.addRef(&l.CostCodeOriginId, r.ref(item, "cost_code_id"), "", "cost_code")
		rec.Lines = append(rec.Lines, l)
	}
	r.documentTax(&d, o)
	// The payload has no total to compare the lines with. formatted_payment_due is a text for people, and
	// what it includes is not published: in the published sample it is $1,087.80, while the lines less their
	// retainage come to 980.00 and have no tax.
	r.setTotal(rec, len(r.list(o, "line_items")), "amount", r.decimal(o, "amount"))
	return r.isolate(d)
}

func (r *reader) requisitionItem(d *Document, o Object, position int) *tiebackv1.Line {
	kind, ok := requisitionItems[o.Text("requisition_item_type")]
	if !ok {
		r.malformed("line %d has the unknown type %.60q", position, o.Text("requisition_item_type"))
	}
	l := &tiebackv1.Line{
		ProcoreId: r.id(o, "procore_requisition_item_id"), OriginId: o.Text("origin_id"), Kind: kind, Position: int32(position),
		Description: cmp.Or(o.Text("line_item_description"), o.Text("description")), Unit: unit(o),
		Amount: r.required(line(position), o, "amount"), Quantity: r.decimal(o, "qty"), UnitCost: r.decimal(o, "unit_cost"), TaxAmount: r.decimal(o, "tax_amount"),
		Retainage: r.retainage(o, position), CostCodeOriginId: o.Text("cost_code_origin_id"), CategoryOriginId: o.Text("line_item_type_origin_id"),
		JobOriginId: o.Text("job_origin_id"), SubJobOriginId: o.Text("sub_job_origin_id"),
		ContractLineOriginId: cmp.Or(o.Text("change_order_line_item_origin_id"), o.Text("commitment_item_origin_id")),
	}
	r.taxCode(d, l, o)
	return l
}

// retainage returns what a line withholds, less what it releases. It is not published whether
// retainage_this_period is reduced by the release already. Its parts show it: if it equals the full amount
// that they hold back, it is not. If it is missing, the parts are the amount held back; if they are missing
// too, the line has no retainage.
func (r *reader) retainage(o Object, position int) string {
	held := r.decimal(o, "retainage_this_period")
	full := r.amount(o, "retainage_work_completed_this_period").
		Add(r.amount(o, "retainage_materials_presently_stored")).
		Sub(r.amount(o, "retainage_materials_previously_stored"))
	released := r.amount(o, "released_work_completed_this_period")
	if held == "" {
		work := r.decimal(o, "retainage_work_completed_this_period")
		switch {
		case work == "" && full.IsZero() && released.IsZero():
			return ""
		case work == "":
			r.refuse("retainage_this_period", "%s has no retainage for this period, but other amounts of retainage. Enter it in Procore, then export again.", line(position))
			return ""
		}
		held = full.String()
	}
	if released.IsZero() || !full.Equal(value(held)) {
		return held
	}
	return full.Sub(released).String()
}

// ContractPayment reads create_payment, which arrives under the name create_contract_payment. It names what
// it pays only by Procore's ids.
func ContractPayment(q Request) ([]Document, error) {
	r := q.reader("payment")
	o := r.object(q.Data, "contract_payment")
	rec := r.record(tiebackv1.Entity_ENTITY_PAYMENT, o)
	rec.Number = o.Text("check_number") // no other number: an ERP may refuse a check number that it already has
	rec.Kind = o.Text("payment_method")
	rec.Date = r.date(o, "date_payment_settled", "date_payment_funded", "date_payment_created", "invoice_date")
	rec.Amount = r.required("it", o, "amount")
	rec.CustomFields = customFields(o, "retainage_released_payment_amount", "bank_id", "external_payment_id", "payment_number", "draw_request_number")
	r.currency(rec, []Object{o}, nil)
	d := Document{Record: rec, ItemType: "contract_payment"}
	d.setStatus(o)
	missing := "The commitment of this payment is not in your ERP system. Export the commitment first, then export the payment again."
	if invoice := r.ref(o, "requisition_id"); invoice > 0 {
		missing = "" // the invoice names its commitment
		d.addRef(&rec.ParentOriginId, invoice, "The invoice of this payment is not in your ERP system. Export the invoice first, then export the payment again.", "requisition")
	}
	d.addRef(&rec.ContractOriginId, r.ref(o, "contract_id"), missing, workOrder, purchaseOrder)
	d.addRef(&rec.VendorOriginId, r.ref(o, "vendor_id"), "", "vendor")
	return []Document{r.finish(&d)}, r.err
}

// DirectCost reads create_company_level_direct_cost, whose ids are strings. Its lines get no external data.
func DirectCost(q Request) ([]Document, error) {
	r := q.reader("direct cost")
	o := r.object(q.Data, "direct_cost")
	rec := r.record(tiebackv1.Entity_ENTITY_DIRECT_COST, o)
	rec.Number, rec.Kind = o.Text("invoice_number"), o.Text("direct_cost_type")
	rec.Code = cmp.Or(rec.Code, rec.Number)
	rec.Date = r.date(o, "accounting_date", "direct_cost_date")
	r.currency(rec, []Object{o}, r.undeleted(o, "line_items"))
	rec.VendorOriginId = o.Object("vendor").Text("origin_id")
	d := Document{Record: rec, ItemType: "company_level_direct_cost"}
	d.setStatus(o)
	d.addRef(&rec.VendorOriginId, r.ref(o.Object("vendor"), "id"), "", "vendor")
	for i, item := range r.undeleted(o, "line_items") {
		l := &tiebackv1.Line{
			ProcoreId: r.id(item, "id"), OriginId: item.Text("origin_id"), Position: int32(i + 1), Description: item.Text("description"), Unit: unit(item),
			Amount: r.costAmount(item, i+1), Quantity: r.decimal(item, "quantity"), UnitCost: r.decimal(item, "unit_cost"), TaxAmount: r.decimal(item, "tax_amount"),
			JobOriginId: item.Text("job_origin_id"), SubJobOriginId: item.Text("sub_job_origin_id"),
			CostCodeOriginId: item.Text("cost_code_origin_id"), CategoryOriginId: item.Text("line_item_type_origin_id"),
		}
		d.addRef(&l.JobOriginId, r.ref(item.Object("project"), "id"), "", "project")
		d.addRef(&l.CostCodeOriginId, r.ref(item, "cost_code_id"), "", "cost_code")
		d.addRef(&l.CategoryOriginId, r.ref(item, "line_item_type_id"), "", "line_item_type")
		r.taxCode(&d, l, item)
		rec.Lines = append(rec.Lines, l)
	}
	lines, billed := r.decimal(o, "line_item_total"), r.decimal(o, "billed_amount")
	r.setTotal(rec, len(r.list(o, "line_items")), "line_item_total", cmp.Or(lines, billed))
	if !value(billed).IsZero() { // zero: no billed amount was entered
		r.checkTotal(rec, "billed_amount", billed)
	}
	return []Document{r.finish(&d)}, r.err
}
