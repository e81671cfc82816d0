package payload

import (
	"bytes"
	"encoding/json"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Document is a record to be booked, with what is needed to report it to Procore.
type Document struct {
	Record   *tiebackv1.Record
	ItemType string // the record's item type of external data; "": not marked
	LineType string // the item type of lines without a kind of their own; "": not marked
	Detail   int64  // the request detail of this record; 0: it has none of its own
	Project  int64  // Procore's project id, for the transactions of a budget
	Refs     []Ref
	Refusal  error // why it can't be booked: permanent, with a message; nil: it can be booked
	Deleted  bool  // deleted in Procore: it is not booked, and it is removed from the ERP
	Void     bool  // its status says that it is not valid: it is not booked
}

// Ref is a reference to a record that the payload names only by Procore's id. Its origin id is the one last
// reported to Procore; the first of the item types that has one is used.
type Ref struct {
	ItemTypes []string
	ItemID    int64
	Missing   string  // the message to the accountant if there is no origin id; "": the field is left empty
	Field     *string // the field of the record or line that gets the origin id
}

// addRef adds a reference that fills in a field from Procore's id, if the payload lacks the origin id.
func (d *Document) addRef(field *string, itemID int64, missing string, itemTypes ...string) {
	if *field == "" && itemID > 0 {
		d.Refs = append(d.Refs, Ref{ItemTypes: itemTypes, ItemID: itemID, Missing: missing, Field: field})
	}
}

// addLineRefs adds the references of a line of a contract or change order.
func (r *reader) addLineRefs(d *Document, l *tiebackv1.Line, o Object) {
	code := o.Object("cost_code")
	d.addRef(&l.JobOriginId, r.ref(o.Object("project"), "id"), "", "project")
	if code.Text("biller_type") == "SubJob" {
		d.addRef(&l.SubJobOriginId, r.ref(code, "biller_id"), "", "sub_job")
	}
	d.addRef(&l.CostCodeOriginId, r.ref(code, "id"), "", "cost_code")
	d.addRef(&l.CategoryOriginId, r.ref(o.Object("line_item_type"), "id"), "", "line_item_type")
}

// record reads the fields that all records share.
func (r *reader) record(entity tiebackv1.Entity, o Object) *tiebackv1.Record {
	return &tiebackv1.Record{
		Entity: entity, ProcoreId: r.id(o, "id"), OriginId: o.Text("origin_id"), OriginData: o.Text("origin_data"),
		Code: o.Text("origin_code"), Description: o.Text("description"), Status: o.Text("status"), CustomFields: customFields(o),
	}
}

// customFields returns the custom fields as Procore sent them, and further fields of the entity.
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
	_ = enc.Encode(keep) // it was decoded from JSON
	return bytes.TrimSpace(b.Bytes())
}

// item reads a line of a contract or change order.
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
