package sandbox

import (
	"fmt"
	"maps"
	"slices"
)

// stagedKey names a staged record; origin ids are unique within company and item type.
type stagedKey struct{ itemType, origin string }

// staged is a record of the ERP that waits in "Ready to import".
type staged struct {
	id       int64
	key      stagedKey
	status   string
	parent   string // origin id of a line item's contract or change order
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

// stagedTypes are the item types that can be staged, and what each becomes on import.
var stagedTypes = map[string]string{
	"vendor": "vendor", "project": "project", "sub_job": "sub_job", "prime_contract": "prime_contract",
	"purchase_order_contract": "purchase_order_contract", "work_order_contract": "work_order_contract",
	"commitment_change_order": "change_order", "line_item": "line_item",
}

// Project-level types carry data.project_origin_id; those with lines may have children.
var (
	projectLevel = set("sub_job", "prime_contract", "purchase_order_contract", "work_order_contract", "commitment_change_order")
	withLines    = set("prime_contract", "purchase_order_contract", "work_order_contract", "commitment_change_order")
)

func syncStaged(c *call) answer {
	body, bad := c.syncBody()
	if bad != nil {
		return *bad
	}
	return c.sync(body.updates, c.stage)
}

func (c *call) stage(item map[string]any) (map[string]any, itemErrors) {
	st, errs := c.readStaged(item)
	if errs != nil {
		return nil, errs
	}
	if st.key.itemType == "line_item" && st.parent == "" {
		return nil, because("parent_origin_id", "is missing: a line item belongs to a contract or change order; nest it under children or name its parent")
	}
	children, errs := c.readChildren(st, item["children"])
	if errs != nil {
		return nil, errs
	}
	entity := maps.Clone(item)
	entity["id"] = c.keep(st).id
	for i, child := range children {
		children[i] = c.keep(child)
	}
	if children != nil {
		c.co.staged[st.key].children = children
	}
	return entity, nil
}

// keep stores a staged record, or updates the one that has its key.
func (c *call) keep(st *staged) *staged {
	old := c.co.staged[st.key]
	if old == nil {
		st.id = c.sb.mint()
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
		return nil, because("item_type", "%q can't be staged", kind)
	}
	origin, _, errs := originID(item)
	if errs != nil || origin == "" {
		return nil, because("origin_id", "is missing: a staged record is known by the ERP's id")
	}
	status, _ := item["status"].(string)
	if status == "" {
		status = statusStaged
	}
	if !slices.Contains([]string{statusStaged, statusImported, statusInvalid, statusArchived}, status) {
		return nil, because("status", "%q is none of staged, imported, invalid, archived", status)
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
		return because("data.project_origin_id", "is missing: %s is a project-level type", kind)
	}
	if kind == "commitment_change_order" && !has("commitment_origin_id") {
		return because("data.commitment_origin_id", "is missing: a change order belongs to a commitment")
	}
	// Prime contracts may be imported again, their lines with them.
	if r := c.co.byOrigin(stagedTypes[kind], st.key.origin); r != nil && kind != "prime_contract" && kind != "line_item" {
		return because("origin_id", "%q is already synced, with %s %d: update it directly", st.key.origin, r.kind, r.id)
	}
	return nil
}

func (c *call) readChildren(parent *staged, v any) ([]*staged, itemErrors) {
	list, isList := v.([]any)
	if v == nil {
		return nil, nil
	}
	if !isList || !withLines[parent.key.itemType] {
		return nil, because("children", "must be a list of line items, under a contract or change order")
	}
	out := make([]*staged, 0, len(list))
	for i, v := range list {
		item, _ := v.(map[string]any)
		child, errs := c.readStaged(item)
		if errs == nil && child.key.itemType != "line_item" {
			errs = because("item_type", "must be line_item under children")
		}
		if errs != nil {
			return nil, because("children", "[%d]: %v", i, map[string][]string(errs))
		}
		child.parent = parent.key.origin
		out = append(out, child)
	}
	return out, nil
}

// stagedFor finds the staged record that a record of Procore came from.
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

// Staged is a staged record, as the users see it.
type Staged struct {
	ID       int64
	ItemType string
	OriginID string
	Code     string
	Status   string // staged, imported, invalid or archived
	Data     map[string]any
	Children []Staged
}

func (st *staged) view() Staged {
	v := Staged{ID: st.id, ItemType: st.key.itemType, OriginID: st.key.origin, Code: st.code, Status: st.status, Data: maps.Clone(st.data)}
	for _, child := range st.children {
		v.Children = append(v.Children, child.view())
	}
	return v
}

// Staged lists a company's staged records of an item type, ordered by id.
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
			out = append(out, st.view())
		}
	}
	slices.SortFunc(out, func(a, b Staged) int { return int(a.ID - b.ID) })
	return out
}

// needed says which *_origin_id Procore must be able to translate before it imports.
var needed = map[string][]reference{
	"sub_job":                 {{"project_origin_id", "project"}},
	"prime_contract":          {{"project_origin_id", "project"}},
	"purchase_order_contract": {{"project_origin_id", "project"}, {"vendor_origin_id", "vendor"}},
	"work_order_contract":     {{"project_origin_id", "project"}, {"vendor_origin_id", "vendor"}},
	"commitment_change_order": {{"project_origin_id", "project"}, {"commitment_origin_id", "purchase_order_contract|work_order_contract"}},
	"line_item":               {{"cost_code_origin_id", "cost_code"}, {"line_item_type_origin_id", "line_item_type"}},
}

type reference struct{ field, kinds string }

// Import is the user's "Import": a staged record becomes a synced record of Procore, with
// its lines. A reference that can't be translated makes it invalid.
func (sb *Sandbox) Import(companyID int64, itemType, originID string) (Record, error) {
	co, err := sb.company(companyID)
	if err != nil {
		return Record{}, err
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	st := co.staged[stagedKey{itemType, originID}]
	if st == nil || st.status != statusStaged {
		return Record{}, fmt.Errorf("company %d has no %s with origin id %q in Ready to import: stage it first", companyID, itemType, originID)
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
			return fmt.Errorf("%s %q can't be imported: %s %q is not synced in company %d", st.key.itemType, st.key.origin, ref.field, text(st.data[ref.field]), co.ID)
		}
	}
	return nil
}

// imported makes the record of a staged one, or takes the one that is linked to it already.
func (sb *Sandbox) imported(co *company, st *staged) *record {
	kind := stagedTypes[st.key.itemType]
	r := co.byOrigin(kind, st.key.origin)
	if r == nil {
		r = co.add(kind, sb.mint())
		_ = co.link(r, st.key.origin) // free: byOrigin found nobody
	}
	if p := co.byOrigin("project", text(st.data["project_origin_id"])); p != nil {
		r.project = p.id
	}
	st.status, r.code = statusImported, st.code
	return r
}

// synced finds a record by origin id under one of the kinds, parted by "|".
func (co *company) synced(kinds, origin string) *record {
	if origin == "" {
		return nil
	}
	for _, kind := range split(kinds) {
		if r := co.byOrigin(kind, origin); r != nil {
			return r
		}
	}
	return nil
}
