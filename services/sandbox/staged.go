package sandbox

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// stagedKey identifies a staged record within a company.
type stagedKey struct{ itemType, origin string }

// staged is a record of the ERP in "Ready to import".
type staged struct {
	id       int64
	key      stagedKey
	status   string
	parent   string // of a line item: the origin id of its contract or change order
	data     map[string]any
	children []*staged
	code     string
}

const (
	statusStaged   = "staged"
	statusImported = "imported"
	statusInvalid  = "invalid"
	statusArchived = "archived"
)

// stagedTypes has the item types that can be staged, and the item type after import.
var stagedTypes = map[string]string{
	"vendor": "vendor", "project": "project", "sub_job": "sub_job", "prime_contract": "prime_contract",
	"purchase_order_contract": "purchase_order_contract", "work_order_contract": "work_order_contract",
	"commitment_change_order": "change_order", "line_item": "line_item",
}

// Project-level types have data.project_origin_id. Types with lines may have children.
var (
	projectLevel = set("sub_job", "prime_contract", "purchase_order_contract", "work_order_contract", "commitment_change_order")
	withLines    = set("prime_contract", "purchase_order_contract", "work_order_contract", "commitment_change_order")
)

func syncStaged(c *call, body syncBody) answer {
	return c.sync(body.updates, c.stage)
}

func (c *call) stage(item map[string]any) (map[string]any, itemErrors) {
	st, errs := c.readStaged(item)
	if errs != nil {
		return nil, errs
	}
	if st.key.itemType == "line_item" && st.parent == "" {
		return nil, fieldError("parent_origin_id", "is missing: set it to the contract or change order of the line item, or send the line item in its children")
	}
	children, errs := c.readChildren(st, item["children"])
	if errs != nil {
		return nil, errs
	}
	entity := maps.Clone(item)
	entity["id"] = c.store(st).id
	for i, child := range children {
		children[i] = c.store(child)
	}
	if children != nil {
		c.co.staged[st.key].children = children
	}
	return entity, nil
}

// store stores a staged record, or updates the one with the same key.
func (c *call) store(st *staged) *staged {
	old := c.co.staged[st.key]
	if old == nil {
		st.id = c.sb.newID()
		c.co.staged[st.key] = st
		return st
	}
	old.status, old.parent, old.code = st.status, st.parent, st.code
	if old.data == nil {
		old.data = map[string]any{}
	}
	maps.Copy(old.data, st.data)
	return old
}

func (c *call) readStaged(item map[string]any) (*staged, itemErrors) {
	kind, _ := item["item_type"].(string)
	if stagedTypes[kind] == "" {
		return nil, fieldError("item_type", "%q cannot be staged", kind)
	}
	origin, _, errs := originID(item)
	if errs != nil || origin == "" {
		return nil, fieldError("origin_id", "is missing: a staged record needs the id in the ERP")
	}
	status, _ := item["status"].(string)
	if status == "" {
		status = statusStaged
	}
	if !slices.Contains([]string{statusStaged, statusImported, statusInvalid, statusArchived}, status) {
		return nil, fieldError("status", "%q is not one of staged, imported, invalid, archived", status)
	}
	st := &staged{key: stagedKey{kind, origin}, status: status, parent: text(item["parent_origin_id"]), code: text(item["origin_code"])}
	st.data, _ = item["data"].(map[string]any)
	return st, c.checkStaged(st)
}

func (c *call) checkStaged(st *staged) itemErrors {
	kind, old := st.key.itemType, c.co.staged[st.key]
	has := func(field string) bool {
		return text(st.data[field]) != "" || old != nil && st.data == nil && text(old.data[field]) != ""
	}
	if projectLevel[kind] && !has("project_origin_id") {
		return fieldError("data.project_origin_id", "is missing: a %s needs its project", kind)
	}
	if kind == "commitment_change_order" && !has("commitment_origin_id") {
		return fieldError("data.commitment_origin_id", "is missing: a change order needs its commitment")
	}
	// Prime contracts and their lines may be imported again.
	if r := c.co.byOrigin(stagedTypes[kind], st.key.origin); r != nil && kind != "prime_contract" && kind != "line_item" {
		return fieldError("origin_id", "%q is already synced as %s %d: update this record", st.key.origin, r.kind, r.id)
	}
	return nil
}

func (c *call) readChildren(parent *staged, v any) ([]*staged, itemErrors) {
	list, isList := v.([]any)
	if v == nil {
		return nil, nil
	}
	if !isList || !withLines[parent.key.itemType] {
		return nil, fieldError("children", "must be a list of line items, under a contract or change order")
	}
	out := make([]*staged, 0, len(list))
	for i, v := range list {
		item, _ := v.(map[string]any)
		child, errs := c.readStaged(item)
		if errs == nil && child.key.itemType != "line_item" {
			errs = fieldError("item_type", "must be line_item under children")
		}
		if errs != nil {
			return nil, fieldError("children", "[%d]: %v", i, map[string][]string(errs))
		}
		child.parent = parent.key.origin
		out = append(out, child)
	}
	return out, nil
}

// stagedFor returns the staged record from which a record was imported, or nil.
func (co *company) stagedFor(kind, origin string) *staged {
	for itemType, becomes := range stagedTypes {
		if becomes == kind {
			if st := co.staged[stagedKey{itemType, origin}]; st != nil {
				return st
			}
		}
	}
	return nil
}

// Staged is a copy of a staged record.
type Staged struct {
	ID       int64
	OriginID string
	Status   string // staged, imported, invalid or archived
}

// Staged returns a company's staged records of an item type, ordered by id.
func (sb *Sandbox) Staged(companyID int64, itemType string) []Staged {
	co, err := sb.company(companyID)
	if err != nil {
		return nil
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	var out []Staged
	for _, st := range co.staged {
		if st.key.itemType == itemType {
			out = append(out, Staged{ID: st.id, OriginID: st.key.origin, Status: st.status})
		}
	}
	slices.SortFunc(out, func(a, b Staged) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// needed has the *_origin_id fields that must refer to synced records for an import.
var needed = map[string][]reference{
	"sub_job":                 {{"project_origin_id", "project"}},
	"prime_contract":          {{"project_origin_id", "project"}},
	"purchase_order_contract": {{"project_origin_id", "project"}, {"vendor_origin_id", "vendor"}},
	"work_order_contract":     {{"project_origin_id", "project"}, {"vendor_origin_id", "vendor"}},
	"commitment_change_order": {{"project_origin_id", "project"}, {"commitment_origin_id", "purchase_order_contract|work_order_contract"}},
	"line_item":               {{"cost_code_origin_id", "cost_code"}, {"line_item_type_origin_id", "line_item_type"}},
}

type reference struct{ field, kinds string }

// Import does what a user does with "Import": a staged record and its lines become synced records. If it refers to a
// record that is not synced, it becomes invalid instead.
func (sb *Sandbox) Import(companyID int64, itemType, originID string) (Record, error) {
	co, err := sb.company(companyID)
	if err != nil {
		return Record{}, err
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	st := co.staged[stagedKey{itemType, originID}]
	if st == nil || st.status != statusStaged {
		return Record{}, fmt.Errorf("company %d has no staged %s with origin id %q: stage it first", companyID, itemType, originID)
	}
	for _, one := range append([]*staged{st}, st.children...) {
		if err := co.translatable(one, itemType); err != nil {
			st.status = statusInvalid
			return Record{}, err
		}
	}
	r := sb.imported(co, st)
	for _, child := range st.children {
		sb.imported(co, child).parent = r.id
	}
	return r.view(), nil
}

func (co *company) translatable(st *staged, top string) error {
	refs := needed[st.key.itemType]
	if st.key.itemType == "line_item" && top == "commitment_change_order" {
		refs = append(slices.Clone(refs), reference{"commitment_line_item_origin_id", "line_item"})
	}
	for _, ref := range refs {
		if co.synced(ref.kinds, text(st.data[ref.field])) == nil {
			return fmt.Errorf("%s %q cannot be imported: %s %q is not synced in company %d", st.key.itemType, st.key.origin, ref.field, text(st.data[ref.field]), co.ID)
		}
	}
	return nil
}

// imported creates the record of a staged one, or updates the one with its origin id.
func (sb *Sandbox) imported(co *company, st *staged) *record {
	kind := stagedTypes[st.key.itemType]
	r := co.byOrigin(kind, st.key.origin)
	if r == nil {
		r = co.add(kind, sb.newID())
		_ = co.link(r, st.key.origin) // no other record has it
	}
	if p := co.byOrigin("project", text(st.data["project_origin_id"])); p != nil {
		r.project = p.id
	}
	st.status, r.code = statusImported, st.code
	return r
}

// synced returns the record with an origin id of one of the kinds, which are separated by "|".
func (co *company) synced(kinds, origin string) *record {
	if origin == "" {
		return nil
	}
	for _, kind := range strings.Split(kinds, "|") {
		if r := co.byOrigin(kind, origin); r != nil {
			return r
		}
	}
	return nil
}
