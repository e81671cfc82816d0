package sandbox

import "fmt"

// record is a record of a company.
type record struct {
	id      int64
	kind    string // the item type, or a kind without external data: kindJobCost, kindTransaction
	origin  string // "": not synced
	code    string
	project int64 // 0: unknown; for a cost code, the id of its biller, which is a project or a sub job
	parent  int64 // the contract, change order or line that it belongs to; 0: unknown
	data    map[string]any
}

// itemTypes are the documented item types of external data.
var itemTypes = set("change_order", "contract_payment", "cost_code", "department", "item", "budget", "insurance",
	"invoice_payment", "line_item", "line_item_type", "markup", "payment_application", "payment_application_line_item",
	"prime_contract", "project", "purchase_order_contract", "requisition", "requisition_change_order_item",
	"requisition_contract_detail_item", "requisition_contract_item", "standard_cost_code", "sub_job", "tax_code",
	"vendor", "work_order_contract", "company_level_direct_cost")

// Kinds of records without external data.
const (
	kindJobCost     = "erp_job_cost"
	kindTransaction = "erp_transaction"
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// Callers of find, byOrigin, add, link, remove and assign hold the company's lock.

func (co *company) find(kind string, id int64) *record { return co.records[kind][id] }

func (co *company) byOrigin(kind, origin string) *record {
	id, ok := co.origins[kind][origin]
	if !ok {
		return nil
	}
	return co.records[kind][id]
}

func (co *company) add(kind string, id int64) *record {
	if co.records[kind] == nil {
		co.records[kind] = map[int64]*record{}
		co.origins[kind] = map[string]int64{}
	}
	r := &record{id: id, kind: kind}
	co.records[kind][id] = r
	return r
}

// link sets the origin id of a record; "" marks it as not synced. Origin ids are unique within
// a company and item type.
func (co *company) link(r *record, origin string) error {
	if other := co.byOrigin(r.kind, origin); origin != "" && other != nil && other != r {
		return fmt.Errorf("%q is already taken by %s %d in this company", origin, r.kind, other.id)
	}
	delete(co.origins[r.kind], r.origin)
	r.origin = origin
	if origin != "" {
		co.origins[r.kind][origin] = r.id
	}
	return nil
}

func (co *company) remove(r *record) {
	delete(co.origins[r.kind], r.origin)
	delete(co.records[r.kind], r.id)
}

// assignmentKey identifies the assignment of a line item type to a cost code.
type assignmentKey struct{ costCode, lineItemType int64 }

type assignment struct {
	id     int64
	synced bool
}

// assign finds or creates an assignment.
func (co *company) assign(key assignmentKey, id func() int64) *assignment {
	a := co.assignments[key]
	if a == nil {
		a = &assignment{id: id()}
		co.assignments[key] = a
		co.assigned[a.id] = key
	}
	return a
}

// Record is a copy of a record.
type Record struct {
	ID       int64
	ItemType string
	OriginID string // "": not synced
	Code     string
	Project  int64
}

func (r *record) view() Record {
	return Record{ID: r.id, ItemType: r.kind, OriginID: r.origin, Code: r.code, Project: r.project}
}

// CreateRecord creates a record that is not synced, as a user would, and returns its id.
func (sb *Sandbox) CreateRecord(companyID int64, itemType string) (int64, error) {
	co, err := sb.company(companyID)
	if err != nil {
		return 0, err
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	return co.add(itemType, sb.newID()).id, nil
}

// Link does what a user does with "Link": the record gets the origin id of a staged record,
// which becomes imported. "" marks the record as not synced.
func (sb *Sandbox) Link(companyID int64, itemType string, id int64, originID string) error {
	co, err := sb.company(companyID)
	if err != nil {
		return err
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	r := co.find(itemType, id)
	if r == nil {
		return fmt.Errorf("company %d has no %s %d: create it first", companyID, itemType, id)
	}
	if st := co.stagedFor(itemType, originID); st != nil {
		st.status = statusImported
	}
	return co.link(r, originID)
}

// Record returns a record by id.
func (sb *Sandbox) Record(companyID int64, itemType string, id int64) (Record, bool) {
	return sb.lookup(companyID, func(co *company) *record { return co.find(itemType, id) })
}

// Synced returns a synced record by its origin id.
func (sb *Sandbox) Synced(companyID int64, itemType, originID string) (Record, bool) {
	return sb.lookup(companyID, func(co *company) *record { return co.byOrigin(itemType, originID) })
}

func (sb *Sandbox) lookup(companyID int64, f func(*company) *record) (Record, bool) {
	co, err := sb.company(companyID)
	if err != nil {
		return Record{}, false
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	r := f(co)
	if r == nil {
		return Record{}, false
	}
	return r.view(), true
}
