package sandbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/catalogue/dictionary"
)

// Sample returns the published payload of an event type with new ids for a company. It creates the records of the
// payload, so that they can be marked. A record with an origin id becomes the company's record with this origin id,
// which Sample creates if it does not exist. origins replaces published origin ids such as "vendor_origin_id". Press
// creates the request details.
func (sb *Sandbox) Sample(companyID int64, eventType string, origins map[string]string) (map[string]any, error) {
	co, err := sb.company(companyID)
	if err != nil {
		return nil, err
	}
	raw, ok := dictionary.Sample(eventType)
	if !ok {
		return nil, fmt.Errorf("event type %q is not in the dictionary", eventType)
	}
	var payload map[string]any
	if err := (&call{body: raw}).decode(&payload); err != nil {
		return nil, err
	}
	replaceOrigins(payload, origins)
	if eventType == "unlink_commitment" || eventType == "unlink_commitment_change_order" {
		Set(payload, "request_data.commitment_type", "WorkOrderContract") // the sample has a placeholder
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	ri := &reissuer{sb: sb, co: co, seen: map[seenKey]int64{}, export: exports(eventType)}
	ri.records("", payload)
	ri.references("", payload)
	ri.connect(payload)
	return payload, nil
}

func exports(eventType string) bool {
	row, known := catalogue.Lookup(eventType)
	return known && row.Category == catalogue.Export
}

// reissuer replaces the ids of a payload. Its user holds the company's lock.
type reissuer struct {
	sb     *Sandbox
	co     *company
	export bool
	seen   map[seenKey]int64
}

type seenKey struct {
	kind string
	old  string
}

// flat has records whose id and origin id are fields of another object.
var flat = []struct{ id, origin, kind string }{
	{"procore_commitment_id", "commitment_origin_id", "commitment"},
	{"contract_id", "contract_origin_id", "commitment"},
	{"procore_commitment_change_order_id", "commitment_change_order_origin_id", "change_order"},
	{"requisition_id", "requisition_origin_id", "requisition"},
	{"procore_requisition_id", "", "requisition"},
	{"procore_requisition_item_id", "", "requisition_item"},
	{"procore_id", "origin_id", "line_item_type"},
	{"payment_id", "origin_id", "invoice_payment"},
	{"prime_contract_change_order_id", "prime_contract_change_order_origin_id", "change_order"},
	{"prime_contract_id", "prime_contract_origin_id", "prime_contract"},
	{"procore_project_id", "project_origin_id", "project"},
	{"project_id", "job_id", "project"},
	{"project_id", "job_origin_id", "project"},
}

// records gives new ids to the objects that are records, which the key of an object decides.
func (ri *reissuer) records(key string, v any) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			ri.records(key, one)
		}
	case map[string]any:
		ri.record(key, v)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if k != "request_detail_id" {
				ri.records(k, v[k])
			}
		}
	}
}

func (ri *reissuer) record(key string, o map[string]any) {
	if kind := kindOf(key, o); kind != "" {
		ri.set(o, "id", kind, origin(o, "origin_id"))
	}
	for _, f := range flat {
		if f.origin == "" {
			ri.set(o, f.id, kindIn(f.kind, o), "")
		} else if or := origin(o, f.origin); or != "" {
			ri.set(o, f.id, kindIn(f.kind, o), or)
		}
	}
	if extra, isJob := o["additional_job_data"].(map[string]any); isJob { // sync_single_job, sync_sub_job
		if _, sub := extra["procore_sub_job_id"]; sub {
			ri.set(extra, "procore_sub_job_id", "sub_job", origin(o, "id"))
			ri.set(extra, "procore_project_id", "project", origin(extra, "parent_origin_id"))
		} else {
			ri.set(extra, "procore_project_id", "project", origin(o, "id"))
		}
	}
	if cost, isCost := o["direct_cost"].(map[string]any); isCost && origin(o, "origin_id") != "" { // its reset
		ri.set(cost, "id", "company_level_direct_cost", origin(o, "origin_id"))
	}
}

// origin reads an origin id. One sample has the string "null" for none.
func origin(o map[string]any, field string) string {
	s, _ := o[field].(string)
	if s == "null" {
		return ""
	}
	return s
}

// set replaces the id in a field and keeps its type, number or string.
func (ri *reissuer) set(o map[string]any, field, kind, origin string) {
	old := text(o[field])
	if n, err := strconv.ParseInt(old, 10, 64); err != nil || n >= firstID {
		return // absent, null, or new already
	}
	id := ri.id(kind, old, origin)
	if _, isString := o[field].(string); isString {
		o[field] = strconv.FormatInt(id, 10)
		return
	}
	o[field] = json.Number(strconv.FormatInt(id, 10))
}

func (ri *reissuer) id(kind, old, origin string) int64 {
	if kind == "payment_application_line_item" && ri.export {
		origin = "" // in the sample it is the origin id of the contract line
	}
	key := seenKey{kind, old}
	r := ri.co.byOrigin(kind, origin)
	if id, again := ri.seen[key]; again && (r == nil || r.id == id) {
		return id
	}
	if r == nil {
		r = ri.co.ensure(ri.sb, kind, origin)
	}
	ri.seen[key] = r.id
	return r.id
}

// references replaces the remaining ids, which refer to records of this payload or others.
func (ri *reissuer) references(key string, v any) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			ri.references(key, one)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			ri.reference(key, k, v)
			ri.references(k, v[k])
		}
	}
}

func (ri *reissuer) reference(under, field string, o map[string]any) {
	if field == "created_by" || field == "request_detail_id" || field != "id" && !strings.HasSuffix(field, "_id") {
		return
	}
	if _, isText := o[field].(string); isText && (strings.HasSuffix(field, "origin_id") || field == "job_id") {
		return // an id in the ERP, which may be a number
	}
	switch kind := refersTo(under, field, o); kind {
	case "company":
		ri.setFixed(o, field, ri.co.ID)
	case "standard_cost_code_list":
		ri.setFixed(o, field, ri.co.StandardCostCodeListID)
	case "person", "":
	default:
		ri.set(o, field, kind, "")
	}
}

func (ri *reissuer) setFixed(o map[string]any, field string, id int64) {
	if _, isString := o[field].(string); isString {
		o[field] = strconv.FormatInt(id, 10)
	} else if o[field] != nil {
		o[field] = json.Number(strconv.FormatInt(id, 10))
	}
}

// connect sets references that the samples lack: from a budget to its job, from a change order to its contract. It also
// sets the project or sub job of cost codes and creates the assignments.
func (ri *reissuer) connect(payload map[string]any) {
	number := func(id int64) json.Number { return json.Number(strconv.FormatInt(id, 10)) }
	if id := GetID(payload, "request_data.commitment.id"); id != 0 && Get(payload, "request_data.change_order") != nil {
		Set(payload, "request_data.change_order.contract_id", number(id))
	}
	if job := text(Get(payload, "request_data.job_id")) + text(Get(payload, "request_data.project_origin_id")); job != "" && Get(payload, "request_data.budget") != nil {
		Set(payload, "request_data.budget.project_id", number(ri.co.ensure(ri.sb, "project", job).id))
	}
	for _, v := range at(payload, "request_data.all_cost_codes[]") {
		cc, _ := v.(map[string]any)
		id, _ := parseID(cc["id"])
		if r := ri.co.find("cost_code", id); r != nil {
			r.project, _ = parseID(cc["biller_id"])
		}
		for _, t := range at(cc, "line_item_types[].id") {
			lineItemType, _ := parseID(t)
			ri.co.assign(assignmentKey{id, lineItemType}, ri.sb.newID)
		}
	}
	for _, v := range at(payload, "request_data.cost_type_assignments[]") {
		o, _ := v.(map[string]any)
		cc, lit := ri.co.ensure(ri.sb, "cost_code", text(o["cost_code_origin_id"])), ri.co.ensure(ri.sb, "line_item_type", text(o["line_item_type_origin_id"]))
		a := ri.co.assign(assignmentKey{cc.id, lit.id}, ri.sb.newID)
		a.synced = true
		o["id"] = number(a.id)
	}
}

// ensure returns the record with an origin id, which it creates if there is none.
func (co *company) ensure(sb *Sandbox, kind, origin string) *record {
	r := co.byOrigin(kind, origin)
	if r == nil {
		r = co.add(kind, sb.newID())
		_ = co.link(r, origin) // no other record has it
	}
	return r
}

// replaceOrigins replaces the strings in a payload that are keys of origins.
func replaceOrigins(v any, origins map[string]string) {
	swap := func(v any) (string, bool) {
		s, isString := v.(string)
		to, named := origins[s]
		return to, isString && named
	}
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			replaceOrigins(one, origins)
		}
	case map[string]any:
		for k, one := range v {
			if to, named := swap(one); named {
				v[k] = to
				continue
			}
			replaceOrigins(one, origins)
		}
	}
}
