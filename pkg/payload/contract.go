package payload

import (
	"cmp"
	"strings"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// The item types of commitments.
const (
	workOrder     = "work_order_contract"
	purchaseOrder = "purchase_order_contract"
)

// CommitmentType returns the item type of a commitment's type, such as WorkOrderContract or
// work_order_contract, or "" if the type is unknown.
func CommitmentType(s string) string {
	switch strings.ToLower(strings.ReplaceAll(s, "_", "")) {
	case "workordercontract":
		return workOrder
	case "purchaseordercontract":
		return purchaseOrder
	}
	return ""
}

// Commitment reads create_commitment.
func Commitment(q Request) ([]Document, error) {
	r := q.reader("commitment")
	c := r.object(q.Data, "commitment")
	rec := r.contract(tiebackv1.Entity_ENTITY_COMMITMENT, c)
	rec.Kind = CommitmentType(c.Text("type"))
	if rec.Kind == "" {
		r.malformed("its type %.60q is neither a work order nor a purchase order", c.Text("type"))
	}
	rec.JobOriginId = cmp.Or(q.Data.Text("job_id"), q.Data.Text("job_origin_id"), c.Object("project").Text("origin_id"))
	rec.VendorOriginId = c.Object("vendor").Text("origin_id")
	rec.Date = cmp.Or(r.date(q.Data.Object("additional_data"), "accounting_date"), r.date(c, "contract_date", "issued_on_date"))
	rec.StartsOn, rec.EndsOn = r.date(c, "contract_start_date"), r.date(c, "contract_estimated_completion_date", "delivery_date")
	rec.RetainagePercent = r.percent(c, "retainage_percent")
	d := Document{Record: rec, ItemType: rec.Kind, LineType: "line_item"}
	d.setStatus(c)
	d.addRef(&rec.JobOriginId, r.ref(c.Object("project"), "id"), "", "project")
	d.addRef(&rec.VendorOriginId, r.ref(c.Object("vendor"), "id"), "", "vendor")
	items := r.undeleted(q.Data, "commitment_items")
	r.currency(rec, []Object{c}, items)
	for i, o := range items {
		l := r.item(&d, o, i+1)
		r.addLineRefs(&d, l, o)
		rec.Lines = append(rec.Lines, l)
	}
	// Published as the total of the lines with all markup. The amounts of the lines include their markup.
	// Project-level markup is on no line, and a total with it is refused.
	r.setTotal(rec, len(r.list(q.Data, "commitment_items")), "grand_total", r.decimal(c, "grand_total"))
	return []Document{r.finish(&d)}, r.err
}

// contract reads the fields that contracts and change orders share.
func (r *reader) contract(entity tiebackv1.Entity, o Object) *tiebackv1.Record {
	rec := r.record(entity, o)
	rec.Number, rec.Name = o.Text("number"), o.Text("title")
	rec.Code = cmp.Or(rec.Code, rec.Number)
	return rec
}

// CommitmentChangeOrder reads create_commitment_change_order. Its lines name the commitment's lines by
// Procore's id; the payload includes those lines.
func CommitmentChangeOrder(q Request) ([]Document, error) {
	r := q.reader("commitment change order")
	o := r.object(q.Data, "change_order")
	contract := r.object(q.Data, "commitment")
	rec := r.contract(tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER, o)
	rec.JobOriginId = cmp.Or(q.Data.Text("job_origin_id"), contract.Object("project").Text("origin_id"))
	rec.VendorOriginId = contract.Object("vendor").Text("origin_id")
	rec.ContractOriginId = contract.Text("origin_id")
	rec.Date = cmp.Or(r.date(q.Data.Object("additional_data"), "accounting_date"), r.date(o, "reviewed_at"))
	d := Document{Record: rec, ItemType: "change_order", LineType: "line_item"}
	d.setStatus(o)
	if deleted(contract) {
		r.refuse("contract", "its commitment is deleted in Procore.")
	}
	d.addRef(&rec.ContractOriginId, r.ref(contract, "id"),
		"The commitment of this change order is not in your ERP system. Export the commitment first, then export the change order again.", commitmentTypes(contract.Text("type"))...)
	d.addRef(&rec.JobOriginId, r.ref(contract.Object("project"), "id"), "", "project")
	d.addRef(&rec.VendorOriginId, r.ref(contract.Object("vendor"), "id"), "", "vendor")
	r.currency(rec, []Object{o, contract}, r.undeleted(q.Data, "change_order_items"))
	r.changeOrderLines(q.Data, &d)
	r.setTotal(rec, len(r.list(q.Data, "change_order_items")), "grand_total", r.decimal(o, "grand_total")) // published as "Total including markup"
	return []Document{r.finish(&d)}, r.err
}

func (r *reader) changeOrderLines(data Object, d *Document) {
	origins := map[int64]string{}
	for _, o := range r.list(data, "commitment_items") {
		origins[r.ref(o, "id")] = o.Text("origin_id")
	}
	for i, o := range r.undeleted(data, "change_order_items") {
		l := r.item(d, o, i+1)
		l.ContractLineOriginId = origins[r.ref(o, "commitment_line_item_id")]
		d.addRef(&l.ContractLineOriginId, r.ref(o, "commitment_line_item_id"), "", "line_item")
		r.addLineRefs(d, l, o)
		d.Record.Lines = append(d.Record.Lines, l)
	}
}

// commitmentTypes returns the item types that a commitment can have: the one of its type, or both.
func commitmentTypes(kind string) []string {
	if t := CommitmentType(kind); t != "" {
		return []string{t}
	}
	return []string{workOrder, purchaseOrder}
}
