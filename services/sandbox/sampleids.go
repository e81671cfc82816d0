package sandbox

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tieback/tieback/pkg/catalogue"
)

// Sample is the published payload of an event type, made this company's own: every id is
// re-issued, and the records are registered, so that they can be marked. A record that the
// sample shows with an origin id is the company's record of that origin id, created and
// synced if there is none. origins replaces published origin ids ("vendor_origin_id")
// by the caller's; those not named stay as published. Request details are minted by Press.
func (sb *Sandbox) Sample(companyID int64, eventType string, origins map[string]string) (map[string]any, error) {
	co, err := sb.company(companyID)
	if err != nil {
		return nil, err
	}
	payload, err := Published(eventType)
	if err != nil {
		return nil, err
	}
	replaceOrigins(payload, origins)
	if eventType == "unlink_commitment" || eventType == "unlink_commitment_change_order" {
		Set(payload, "request_data.commitment_type", "WorkOrderContract") // published as a placeholder
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	is := &issuer{sb: sb, co: co, seen: map[seenKey]int64{}, export: exports(eventType)}
	is.objects("", payload)
	is.references("", payload)
	is.belong(payload)
	return payload, nil
}

func exports(eventType string) bool {
	row, known := catalogue.Lookup(eventType)
	return known && row.Category == catalogue.Export
}

// issuer re-issues the ids of one payload, under the company's lock.
type issuer struct {
	sb     *Sandbox
	co     *company
	export bool
	seen   map[seenKey]int64
}

type seenKey struct {
	kind string
	old  string
}

// idField and originField of records that are shown flat, beside others, with their kind.
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

// objects walks the payload for objects that are records, by the key they stand under.
func (is *issuer) objects(key string, v any) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			is.objects(key, one)
		}
	case map[string]any:
		is.object(key, v)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if k != "request_detail_id" {
				is.objects(k, v[k])
			}
		}
	}
}

func (is *issuer) object(key string, o map[string]any) {
	if kind := kindOf(key, o); kind != "" {
		is.put(o, "id", kind, origin(o, "origin_id"))
	}
	for _, f := range flat {
		if f.origin == "" {
			is.put(o, f.id, kindIn(f.kind, o), "")
		} else if or := origin(o, f.origin); or != "" {
			is.put(o, f.id, kindIn(f.kind, o), or)
		}
	}
	if extra, isJob := o["additional_job_data"].(map[string]any); isJob { // sync_single_job, sync_sub_job
		if _, sub := extra["procore_sub_job_id"]; sub {
			is.put(extra, "procore_sub_job_id", "sub_job", origin(o, "id"))
			is.put(extra, "procore_project_id", "project", origin(extra, "parent_origin_id"))
		} else {
			is.put(extra, "procore_project_id", "project", origin(o, "id"))
		}
	}
	if cost, isCost := o["direct_cost"].(map[string]any); isCost && origin(o, "origin_id") != "" { // its reset
		is.put(cost, "id", "company_level_direct_cost", origin(o, "origin_id"))
	}
}

// origin reads an origin id; the string "null" is one sample's way to say none.
func origin(o map[string]any, field string) string {
	s, _ := o[field].(string)
	if s == "null" {
		return ""
	}
	return s
}

// put re-issues the id in a field, as whatever it was: a number or a string.
func (is *issuer) put(o map[string]any, field, kind, origin string) {
	old := text(o[field])
	if n, err := strconv.ParseInt(old, 10, 64); err != nil || n >= firstID {
		return // absent, null, or re-issued before
	}
	id := is.id(kind, old, origin)
	if _, isString := o[field].(string); isString {
		o[field] = strconv.FormatInt(id, 10)
		return
	}
	o[field] = json.Number(strconv.FormatInt(id, 10))
}

func (is *issuer) id(kind, old, origin string) int64 {
	if kind == "payment_application_line_item" && is.export {
		origin = "" // the sample shows the contract line's origin id here
	}
	key := seenKey{kind, old}
	if id, again := is.seen[key]; again && (origin == "" || is.co.byOrigin(kind, origin) == nil || is.co.byOrigin(kind, origin).id == id) {
		return id
	}
	r := is.co.byOrigin(kind, origin)
	if r == nil {
		r = is.co.add(kind, is.sb.mint())
		_ = is.co.link(r, origin) // free: byOrigin found nobody
	}
	is.seen[key] = r.id
	return r.id
}

// references re-issues what is left: ids that point to a record seen, or to one unseen.
func (is *issuer) references(key string, v any) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			is.references(key, one)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			is.reference(key, k, v)
			is.references(k, v[k])
		}
	}
}

func (is *issuer) reference(under, field string, o map[string]any) {
	if field == "created_by" || field == "request_detail_id" || field != "id" && !strings.HasSuffix(field, "_id") {
		return
	}
	if _, isText := o[field].(string); isText && (strings.HasSuffix(field, "origin_id") || field == "job_id") {
		return // the ERP's id, which may be a number
	}
	switch kind := refersTo(under, field, o); kind {
	case "company":
		is.fixed(o, field, is.co.ID)
	case "standard_cost_code_list":
		is.fixed(o, field, is.co.StandardCostCodeListID)
	case "person", "":
	default:
		is.put(o, field, kind, "")
	}
}

func (is *issuer) fixed(o map[string]any, field string, id int64) {
	if _, isString := o[field].(string); isString {
		o[field] = strconv.FormatInt(id, 10)
	} else if o[field] != nil {
		o[field] = json.Number(strconv.FormatInt(id, 10))
	}
}

// belong joins what the samples leave apart: a budget and its job, a change order and its
// contract; it notes which project or sub job a cost code is of, and registers the assignments.
func (is *issuer) belong(payload map[string]any) {
	number := func(id int64) json.Number { return json.Number(strconv.FormatInt(id, 10)) }
	if id := GetID(payload, "request_data.commitment.id"); id != 0 && Get(payload, "request_data.change_order") != nil {
		Set(payload, "request_data.change_order.contract_id", number(id))
	}
	if job := text(Get(payload, "request_data.job_id")) + text(Get(payload, "request_data.project_origin_id")); job != "" && Get(payload, "request_data.budget") != nil {
		Set(payload, "request_data.budget.project_id", number(is.co.ensure(is.sb, "project", job).id))
	}
	for _, v := range at(payload, "request_data.all_cost_codes[]") {
		cc, _ := v.(map[string]any)
		id, _ := asID(cc["id"])
		if r := is.co.find("cost_code", id); r != nil {
			r.project, _ = asID(cc["biller_id"])
		}
		for _, t := range at(cc, "line_item_types[].id") {
			lineItemType, _ := asID(t)
			is.co.assign(assignmentKey{id, lineItemType}, is.sb.mint)
		}
	}
	for _, v := range at(payload, "request_data.cost_type_assignments[]") {
		o, _ := v.(map[string]any)
		cc, lit := is.co.ensure(is.sb, "cost_code", text(o["cost_code_origin_id"])), is.co.ensure(is.sb, "line_item_type", text(o["line_item_type_origin_id"]))
		a := is.co.assign(assignmentKey{cc.id, lit.id}, is.sb.mint)
		a.synced = true
		o["id"] = number(a.id)
	}
}

// ensure finds the record of an origin id, or creates and syncs it.
func (co *company) ensure(sb *Sandbox, kind, origin string) *record {
	r := co.byOrigin(kind, origin)
	if r == nil {
		r = co.add(kind, sb.mint())
		_ = co.link(r, origin) // free: byOrigin found nobody
	}
	return r
}

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
