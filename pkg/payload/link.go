package payload

import (
	"cmp"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Link is a record that Procore has linked to a record of the ERP, and that an unlink or reset event is
// about. Its Record has ids and a name, but nothing to book.
type Link struct {
	Record    *tiebackv1.Record
	ItemTypes []string // of external data; several if the payload does not say which
	Detail    int64    // the request detail of this record; 0: it has none of its own
	JobCost   int64    // Procore's job cost of a cost type assignment; 0: none
	ProjectID int64    // Procore's project, if the payload names it; otherwise 0
	SubJobID  int64    // likewise
	Override  bool     // reset Procore's side even if the ERP keeps the record
	Lines     []Item   // the lines of a document, if the payload lists them
	Refusal   error    // why it can't be read: permanent, with a message; nil: it was read
}

// Item identifies a record by its item type of external data.
type Item struct {
	Type string
	ID   int64
}

// linkSource says where a payload has the data of a link.
type linkSource struct {
	what     string
	entity   tiebackv1.Entity
	itemType string
	object   string // "": the data itself
	list     string // an array of objects, instead of object
	id       string // "": id
	origin   string // "": origin_id, of the object or else of the data
}

// unlinkSources has the event types of the unlink category, except delete_cost_type_assignments.
var unlinkSources = map[string]linkSource{
	"unlink_standard_cost_codes":         {what: "standard cost code", entity: tiebackv1.Entity_ENTITY_STANDARD_COST_CODE, itemType: "standard_cost_code", list: "standard_cost_codes"},
	"unlink_vendor":                      {what: "vendor", entity: tiebackv1.Entity_ENTITY_VENDOR, itemType: "vendor", object: "vendor"},
	"delete_cost_codes":                  {what: "cost code", entity: tiebackv1.Entity_ENTITY_COST_CODE, itemType: "cost_code", list: "cost_codes"},
	"unlink_commitment":                  {what: "commitment", entity: tiebackv1.Entity_ENTITY_COMMITMENT, id: "procore_commitment_id", origin: "commitment_origin_id"},
	"unlink_commitment_change_order":     {what: "commitment change order", entity: tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER, itemType: "change_order", id: "procore_commitment_change_order_id", origin: "commitment_change_order_origin_id"},
	"unlink_payment_application":         {what: "payment application", entity: tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION, itemType: "payment_application", object: "payment_application"},
	"unlink_prime_contract_change_order": {what: "prime contract change order", entity: tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER, itemType: "change_order", object: "prime_contract_change_order"},
	"unlink_company_level_direct_cost":   {what: "direct cost", entity: tiebackv1.Entity_ENTITY_DIRECT_COST, itemType: "company_level_direct_cost", object: "direct_cost"},
}

// resetSources has the event types of the reset category.
var resetSources = map[string]linkSource{
	"delete_standard_cost_codes":        {what: "standard cost code", entity: tiebackv1.Entity_ENTITY_STANDARD_COST_CODE, itemType: "standard_cost_code", list: "standard_cost_code_data_array"},
	"delete_standard_categories":        {what: "cost type", entity: tiebackv1.Entity_ENTITY_STANDARD_CATEGORY, itemType: "line_item_type", list: "standard_category_data_array", id: "procore_id"},
	"delete_cost_code":                  {what: "cost code", entity: tiebackv1.Entity_ENTITY_COST_CODE, itemType: "cost_code", list: "project_cost_code_data_array"},
	"reset_job":                         {what: "job", entity: tiebackv1.Entity_ENTITY_JOB, itemType: "project", object: "project"},
	"reset_sub_job":                     {what: "sub job", entity: tiebackv1.Entity_ENTITY_SUB_JOB, itemType: "sub_job", object: "sub_job"},
	"reset_requisition":                 {what: "subcontractor invoice", entity: tiebackv1.Entity_ENTITY_REQUISITION, itemType: "requisition", id: "requisition_id", origin: "requisition_origin_id"},
	"reset_payment":                     {what: "payment", entity: tiebackv1.Entity_ENTITY_PAYMENT, itemType: "invoice_payment", id: "payment_id"},
	"reset_prime_contract_change_order": {what: "prime contract change order", entity: tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER, itemType: "change_order", id: "prime_contract_change_order_id", origin: "prime_contract_change_order_origin_id"},
	"reset_company_level_direct_cost":   {what: "direct cost", entity: tiebackv1.Entity_ENTITY_DIRECT_COST, itemType: "company_level_direct_cost", object: "direct_cost"},
}

// Unlinked reads the links of an event of the unlink category.
func Unlinked(eventType string, q Request) ([]Link, error) {
	if eventType == "delete_cost_type_assignments" {
		return assignments(q)
	}
	links, err := read(unlinkSources[eventType], q)
	if err != nil {
		return nil, err
	}
	switch r := q.reader(unlinkSources[eventType].what); eventType {
	case "unlink_commitment":
		links[0].ItemTypes = commitmentTypes(q.Data.Text("commitment_type"))
	case "unlink_payment_application":
		for _, l := range r.list(q.Data.Object("payment_application"), "items") {
			links[0].Lines = append(links[0].Lines, Item{"payment_application_line_item", r.id(l, "id")})
		}
		return links, r.err
	case "unlink_prime_contract_change_order":
		links[0].Lines = r.primeLines(q.Data)
		return links, r.err
	}
	return links, nil
}

// primeLines reads the lines of a prime contract change order and their markups.
func (r *reader) primeLines(data Object) []Item {
	var out []Item
	for _, l := range r.list(data, "prime_contract_change_order_line_items") {
		out = append(out, Item{"line_item", r.id(l, "id")})
		for _, m := range r.list(l, "markup_line_items") {
			out = append(out, Item{"markup", r.id(m, "id")})
		}
	}
	return out
}

// Reset reads the links of an event of the reset category.
func Reset(eventType string, q Request) ([]Link, error) {
	links, err := read(resetSources[eventType], q)
	if err == nil && eventType == "reset_payment" { // exported, or synced from the ERP
		links[0].ItemTypes = []string{"contract_payment", "invoice_payment"}
	}
	if err != nil || eventType != "reset_prime_contract_change_order" {
		return links, err
	}
	r := q.reader("prime contract change order")
	links[0].Lines = r.primeLines(q.Data)
	return links, r.err
}

func read(t linkSource, q Request) ([]Link, error) {
	r := q.reader(t.what)
	objects := []Object{q.Data}
	switch {
	case t.list != "":
		objects = r.list(q.Data, t.list)
		if len(objects) == 0 {
			r.malformed("the list is empty")
		}
	case t.object != "":
		objects[0] = r.object(q.Data, t.object)
	}
	if r.err != nil {
		return nil, r.err
	}
	var out []Link
	for _, o := range objects {
		link := r.link(t, o, q.Data)
		if t.list != "" {
			r.detach(&link)
		}
		out = append(out, link)
	}
	return out, r.err
}

func (r *reader) link(t linkSource, o, data Object) Link {
	origin := cmp.Or(t.origin, "origin_id")
	link := Link{
		Record: &tiebackv1.Record{
			Entity: t.entity, ProcoreId: r.id(o, cmp.Or(t.id, "id")), OriginId: cmp.Or(o.Text(origin), data.Text(origin)),
			Name: nameOf(o), JobOriginId: data.Text("project_origin_id"),
		},
		ItemTypes: []string{t.itemType}, Override: data.Bool("reset_override"),
	}
	link.ProjectID, link.SubJobID = placeOf(data)
	if t.list != "" {
		link.Detail = r.ref(o, "request_detail_id")
	}
	return link
}

// detach moves an error to one of several links.
func (r *reader) detach(link *Link) { link.Refusal, r.err = r.err, nil }

// placeOf reads the project and the sub job of a record to be deleted.
func placeOf(data Object) (project, subJob int64) {
	return cmp.Or(data.ID("procore_project_id"), data.Object("project").ID("id"), data.ID("project_id")),
		cmp.Or(data.ID("procore_sub_job_id"), data.Object("sub_job").ID("id"))
}

// nameOf returns a record's name for messages: its code or number, otherwise its name.
func nameOf(o Object) string {
	return cmp.Or(o.Text("sortable_code"), o.Text("code"), o.Text("prime_contract_change_order_number"), o.Text("number"), o.Text("invoice_number"), o.Text("origin_code"), o.Text("title"), o.Text("name"))
}

// assignments reads delete_cost_type_assignments, which names the ERP's record by the origin ids of its
// parts.
func assignments(q Request) ([]Link, error) {
	r := q.reader("cost type assignment")
	list := r.list(q.Data, "cost_type_assignments")
	if len(list) == 0 {
		r.malformed("the list is empty")
	}
	if r.err != nil {
		return nil, r.err
	}
	var out []Link
	for _, o := range list {
		code, category := o.Text("cost_code_origin_id"), o.Text("line_item_type_origin_id")
		rec := &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT, ProcoreId: r.id(o, "id"), CostCodeOriginId: code, CategoryOriginId: category}
		if code != "" && category != "" {
			rec.OriginId = connector.AssignmentID(code, category)
		}
		link := Link{Record: rec, Detail: r.ref(o, "request_detail_id"), JobCost: r.ref(o, "job_cost_id")}
		r.detach(&link)
		link.ProjectID, link.SubJobID = placeOf(q.Data)
		out = append(out, link)
	}
	return out, r.err
}
