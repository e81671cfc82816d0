package payload

import (
	"bytes"
	"encoding/json"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Document is a record to be booked, with what is needed to tell Procore about it.
type Document struct {
	Record   *tiebackv1.Record
	ItemType string // external data's item type of the record; "": not marked
	LineType string // of lines without a kind of their own; "": not marked
	Detail   int64  // request detail of this record alone; 0: it has none
	Project  int64  // Procore's, of a budget's transactions
	Refs     []Ref
	Refusal  error // why it can't be booked, permanent, with a sentence; nil: it can
	Deleted  bool  // it is deleted in Procore: not to be booked, and to be taken out of the ERP
	Void     bool  // its status says that it does not count: not to be booked
}

// Ref is something the record belongs to that the payload names by Procore's id only. Its
// origin id is what Procore was last told: the first item type that has one counts.
type Ref struct {
	ItemTypes []string
	ItemID    int64
	Missing   string  // what the accountant is told where it has none; "": it is left out
	Field     *string // of the record or a line; gets the origin id
}

// refer asks for a field to be filled in from Procore's id, where the payload lacks the origin id.
func (d *Document) refer(field *string, itemID int64, missing string, itemTypes ...string) {
	if *field == "" && itemID > 0 {
		d.Refs = append(d.Refs, Ref{ItemTypes: itemTypes, ItemID: itemID, Missing: missing, Field: field})
	}
}

// referItem asks for what a line of a contract or change order is on.
func (r *reader) referItem(d *Document, l *tiebackv1.Line, o Object) {
	code := o.Object("cost_code")
	d.refer(&l.JobOriginId, r.ref(o.Object("project"), "id"), "", "project")
	if code.Text("biller_type") == "SubJob" {
		d.refer(&l.SubJobOriginId, r.ref(code, "biller_id"), "", "sub_job")
	}
	d.refer(&l.CostCodeOriginId, r.ref(code, "id"), "", "cost_code")
	d.refer(&l.CategoryOriginId, r.ref(o.Object("line_item_type"), "id"), "", "line_item_type")
}

// record starts a record with what all payloads share.
func (r *reader) record(entity tiebackv1.Entity, o Object) *tiebackv1.Record {
	return &tiebackv1.Record{
		Entity: entity, ProcoreId: r.id(o, "id"), OriginId: o.Text("origin_id"), OriginData: o.Text("origin_data"),
		Code: o.Text("origin_code"), Description: o.Text("description"), Status: o.Text("status"), CustomFields: customFields(o),
	}
}

// customFields keeps custom fields as Procore sent them, and what more an entity asks to keep.
func customFields(o Object, more ...string) []byte {
	keep := map[string]any{}
	for _, name := range append([]string{"custom_fields", "erp_custom_fields"}, more...) {
		if m, ok := o[name].(map[string]any); o[name] != nil && (!ok || len(m) > 0) {
			keep[name] = o[name]
		}
	}
	if len(keep) == 0 {
		return nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(keep) // it came out of JSON
	return bytes.TrimSpace(b.Bytes())
}

// item reads a line of a contract or change order of d.
func (r *reader) item(d *Document, o Object, position int) *tiebackv1.Line {
	l := &tiebackv1.Line{
		ProcoreId: r.id(o, "id"), OriginId: o.Text("origin_id"), Position: int32(position),
		Description: o.Text("description"), Unit: unit(o),
		Amount: r.itemAmount(o, position), Quantity: r.decimal(o, "quantity"), UnitCost: r.decimal(o, "unit_cost"), TaxAmount: r.decimal(o, "tax_amount"),
		JobOriginId:      o.Object("project").Text("origin_id"),
		CostCodeOriginId: o.Object("cost_code").Text("origin_id"),
		CategoryOriginId: o.Object("line_item_type").Text("origin_id"),
	}
	if code := o.Object("cost_code"); code.Text("biller_type") == "SubJob" {
		l.SubJobOriginId = code.Text("biller_origin_id")
	}
	r.taxCode(d, l, o)
	return l
}
