package sandbox

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/catalogue"
)

// Press is a user pressing a button: it creates the ERP request with its request details
// and announces it to the company's hooks. payload is the whole request as Sample makes it, nil
// for a fresh Sample; request_detail_id is minted wherever the payload or the catalogue has it.
// Records at the places that the catalogue marks are registered if they aren't yet. A type that is
// not in the catalogue is pressed all the same, as Procore may have types it never documented.
func (sb *Sandbox) Press(companyID int64, eventType string, payload map[string]any) (requestID int64, err error) {
	co, err := sb.company(companyID)
	if err != nil {
		return 0, err
	}
	if payload == nil {
		if payload, err = sb.Sample(companyID, eventType, nil); err != nil {
			return 0, err
		}
	}
	payload, _ = clone(payload).(map[string]any)
	req := &request{id: sb.mintRequest(), co: co, eventType: eventType, clicked: time.Now(), done: make(chan struct{})}
	req.created = sb.recorded(req.clicked)
	row, known := catalogue.Lookup(eventType)
	if known {
		addDetailPlaces(row, payload)
	}
	envelope(req, payload)
	sb.mintDetails(req, row, "", payload, payload)
	if req.body, err = json.Marshal(payload); err != nil {
		return 0, fmt.Errorf("the payload of %s is no JSON: %w", eventType, err)
	}
	co.register(req, row, payload)
	sb.mu.Lock()
	sb.requests[req.id] = req
	sb.mu.Unlock()
	sb.announce(req, projectOf(payload))
	return req.id, nil
}

// alsoDetailed carry a detail in request_data though their published samples lack it.
var alsoDetailed = set("create_budget", "update_budget", "create_requisitions")

// addDetailPlaces gives a payload a request_detail_id wherever the catalogue has one.
func addDetailPlaces(row catalogue.EventType, payload map[string]any) {
	places := row.DetailAt
	if alsoDetailed[row.Name] {
		places = []string{".request_data.request_detail_id"}
	}
	for _, place := range places {
		Set(payload, place, json.Number("0"))
	}
}

// envelope writes what Procore puts around the data. Two types show their data without
// the request_data wrapper; it stays as it is.
func envelope(req *request, payload map[string]any) {
	payload["id"], payload["company_id"] = req.id, req.co.ID
	if _, named := payload["request_name"]; !named {
		payload["request_name"] = requestName(req.eventType)
	}
	payload["created_at"], payload["updated_at"] = stamp(req.created), stamp(req.created)
	if _, given := payload["integration_app_name"]; !given {
		payload["integration_app_name"] = nil
	}
}

// requestName is the name that a type arrives under: create_payment's is another.
func requestName(eventType string) string {
	if row, known := catalogue.Lookup(eventType); known && len(row.Aliases) > 0 {
		return row.Aliases[0]
	}
	return eventType
}

// mintDetails replaces each request_detail_id, and notes what its success demands.
func (sb *Sandbox) mintDetails(req *request, row catalogue.EventType, key string, v any, payload map[string]any) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			sb.mintDetails(req, row, key, one, payload)
		}
	case map[string]any:
		if _, has := v["request_detail_id"]; has {
			d := &detail{id: sb.mint(), req: req, status: InProgress, messages: []string{}, updated: req.created}
			v["request_detail_id"] = d.id
			d.expects = expectations(row, payload, key, v)
			if len(d.expects) > 0 {
				d.itemType, d.itemID = d.expects[0].kind, d.expects[0].id
			}
			req.details = append(req.details, d)
		}
		for k, one := range v {
			sb.mintDetails(req, row, k, one, payload)
		}
	}
}

// register puts the request's details, and records not yet known, into the company's world.
func (co *company) register(req *request, row catalogue.EventType, payload map[string]any) {
	co.mu.Lock()
	defer co.mu.Unlock()
	for _, d := range req.details {
		co.details[d.id] = d
		co.detailOrder = append(co.detailOrder, d)
	}
	for _, e := range markExpectations(row, payload) {
		if co.find(e.kind, e.id) == nil {
			co.add(e.kind, e.id)
		}
	}
	co.settle(payload)
	for kind, path := range unlinkedBefore[row.Name] {
		for _, v := range at(payload, path) {
			id, _ := asID(v)
			if r := co.find(kind, id); r != nil {
				co.unlink(r, kind)
			}
		}
	}
}

// unlinkedBefore are the records, by kind and path, that Procore has unlinked before it announces the request.
var unlinkedBefore = map[string]map[string]string{
	"unlink_vendor":              {"vendor": "request_data.vendor.id"},
	"unlink_standard_cost_codes": {"standard_cost_code": "request_data.standard_cost_codes[].id"},
}

func projectOf(payload map[string]any) int64 {
	for _, path := range []string{"request_data.project.id", "request_data.job.id", "request_data.project_id", "request_data.budget.project_id", "project_id", "request_data.commitment.project.id"} {
		if id := GetID(payload, path); id != 0 {
			return id
		}
	}
	return 0
}

// expectations is what a detail's success demands: of a detail inside an array's item that
// item, of any other the whole payload.
func expectations(row catalogue.EventType, payload map[string]any, key string, holder map[string]any) []expectation {
	id, _ := asID(holder["id"])
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

// markExpectations: every record that the catalogue marks is synced.
func markExpectations(row catalogue.EventType, payload map[string]any) []expectation {
	var out []expectation
	for _, m := range row.Marks {
		path, field, _ := cutLast(m.ItemIDAt)
		for _, holder := range at(payload, path) {
			o, _ := holder.(map[string]any)
			if id, valid := asID(o[field]); valid {
				out = append(out, expectation{want: wantSynced, kind: markKind(m.ItemType, o), id: id})
			}
		}
	}
	return out
}

func cutLast(path string) (before, after string, found bool) {
	i := strings.LastIndex(path, ".")
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

// markKind decides the item type where the catalogue leaves it to the record.
func markKind(itemType string, o map[string]any) string {
	switch {
	case strings.Contains(itemType, "by commitment.type"):
		return commitmentKind(text(o["type"]))
	case strings.Contains(itemType, "by requisition_item_type"):
		return requisitionItemKind(text(o["requisition_item_type"]))
	}
	return itemType
}

// writeExpectations: a job's assignments and a budget's transactions are marked too.
func writeExpectations(row catalogue.EventType, payload map[string]any) []expectation {
	var out []expectation
	switch row.Name {
	case "create_or_update_job", "create_sub_job":
		for _, v := range at(payload, "request_data.all_cost_codes[]") {
			o, _ := v.(map[string]any)
			costCode, _ := asID(o["id"])
			for _, t := range at(o, "line_item_types[].id") {
				lineItemType, _ := asID(t)
				out = append(out, expectation{want: wantAssigned, kind: "cost_code", id: costCode, other: lineItemType})
			}
		}
	case "create_budget", "update_budget":
		for _, v := range at(payload, "request_data.transactions[].id") {
			id, _ := asID(v)
			out = append(out, expectation{want: wantSynced, kind: kindTransaction, id: id})
		}
	}
	return out
}

// unlinkExpectations: an unlinked record has no origin id any more.
func unlinkExpectations(row catalogue.EventType, payload map[string]any) []expectation {
	if row.Category != catalogue.Unlink {
		return nil
	}
	gone := func(kind string, paths ...string) (out []expectation) {
		for _, path := range paths {
			for _, v := range at(payload, path) {
				id, _ := asID(v)
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
