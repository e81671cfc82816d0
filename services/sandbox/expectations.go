package sandbox

import (
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/catalogue"
)

// want is a condition that must hold when a detail becomes success.
type want int

const (
	wantSynced   want = iota // the record has an origin id
	wantUnsynced             // the record has no origin id or does not exist
	wantAssigned             // the assignment is marked as synced
	wantDeleted              // the assignment is gone
)

// expectation is a condition for a record or an assignment.
type expectation struct {
	want  want
	kind  string
	id    int64 // of the record; wantAssigned: of the cost code; wantDeleted: of the assignment
	other int64 // wantAssigned: the line item type
}

// unmet describes the expectations that do not hold. The caller holds the company's lock.
func (d *detail) unmet() []string {
	var out []string
	for _, e := range d.expects {
		if why := e.unmet(d.req.co); why != "" {
			out = append(out, fmt.Sprintf("request detail %d became success, but %s", d.id, why))
		}
	}
	return out
}

func (e expectation) unmet(co *company) string {
	switch e.want {
	case wantSynced:
		if r := co.find(e.kind, e.id); r == nil || r.origin == "" {
			return fmt.Sprintf("%s %d has no origin id", e.kind, e.id)
		}
	case wantUnsynced:
		if r := co.find(e.kind, e.id); r != nil && r.origin != "" {
			return fmt.Sprintf("%s %d still has the origin id %q", e.kind, e.id, r.origin)
		}
	case wantAssigned:
		if a := co.assignments[assignmentKey{e.id, e.other}]; a == nil || !a.synced {
			return fmt.Sprintf("line item type %d on cost code %d is not marked as synced", e.other, e.id)
		}
	case wantDeleted:
		if _, known := co.assigned[e.id]; known {
			return fmt.Sprintf("assignment %d is not deleted", e.id)
		}
	}
	return ""
}

// expectations returns the expectations of a detail. A detail inside an item of an array is about this item, any other
// about the whole payload.
func expectations(row catalogue.EventType, payload map[string]any, key string, holder map[string]any) []expectation {
	id, _ := parseID(holder["id"])
	switch row.Name {
	case "":
		return nil
	case "create_standard_cost_codes":
		return []expectation{{want: wantSynced, kind: "standard_cost_code", id: id}}
	case "delete_cost_codes":
		return []expectation{{want: wantUnsynced, kind: "cost_code", id: id}}
	case "delete_cost_type_assignments":
		return []expectation{{want: wantDeleted, id: id}}
	}
	return append(append(markExpectations(row, payload), writeExpectations(row, payload)...), unlinkExpectations(row, payload)...)
}

// markExpectations: each record that the catalogue marks is synced.
func markExpectations(row catalogue.EventType, payload map[string]any) []expectation {
	var out []expectation
	for _, m := range row.Marks {
		holders, field := parents(payload, m.ItemIDAt)
		for _, holder := range holders {
			o, _ := holder.(map[string]any)
			if id, valid := parseID(o[field]); valid {
				out = append(out, expectation{want: wantSynced, kind: markKind(m.ItemType, o), id: id})
			}
		}
	}
	return out
}

// markKind returns the item type of a mark; in some rows of the catalogue a field of the record decides it.
func markKind(itemType string, o map[string]any) string {
	switch {
	case strings.Contains(itemType, "by commitment.type"):
		return commitmentKind(text(o["type"]))
	case strings.Contains(itemType, "by requisition_item_type"):
		return requisitionItemKind(text(o["requisition_item_type"]))
	}
	return itemType
}

// writeExpectations: the assignments of a job and the transactions of a budget are synced.
func writeExpectations(row catalogue.EventType, payload map[string]any) []expectation {
	var out []expectation
	switch row.Name {
	case "create_or_update_job", "create_sub_job":
		for _, v := range at(payload, "request_data.all_cost_codes[]") {
			o, _ := v.(map[string]any)
			costCode, _ := parseID(o["id"])
			for _, t := range at(o, "line_item_types[].id") {
				lineItemType, _ := parseID(t)
				out = append(out, expectation{want: wantAssigned, kind: "cost_code", id: costCode, other: lineItemType})
			}
		}
	case "create_budget", "update_budget":
		for _, v := range at(payload, "request_data.transactions[].id") {
			id, _ := parseID(v)
			out = append(out, expectation{want: wantSynced, kind: kindTransaction, id: id})
		}
	}
	return out
}

// unlinkExpectations: an unlinked record has no origin id.
func unlinkExpectations(row catalogue.EventType, payload map[string]any) []expectation {
	if row.Category != catalogue.Unlink {
		return nil
	}
	gone := func(kind string, paths ...string) (out []expectation) {
		for _, path := range paths {
			for _, v := range at(payload, path) {
				id, _ := parseID(v)
				out = append(out, expectation{want: wantUnsynced, kind: kind, id: id})
			}
		}
		return out
	}
	switch row.Name {
	case "unlink_commitment":
		return gone(commitmentKind(text(Get(payload, "request_data.commitment_type"))), "request_data.procore_commitment_id")
	case "unlink_commitment_change_order":
		return gone("change_order", "request_data.procore_commitment_change_order_id")
	case "unlink_payment_application":
		return append(gone("payment_application", "request_data.payment_application.id"), gone("payment_application_line_item", "request_data.payment_application.items[].id")...)
	case "unlink_prime_contract_change_order":
		return append(gone("change_order", "prime_contract_change_order.id"), gone("line_item", "prime_contract_change_order_line_items[].id")...)
	case "unlink_company_level_direct_cost":
		return gone("company_level_direct_cost", "request_data.direct_cost.id")
	}
	return nil
}
