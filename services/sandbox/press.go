package sandbox

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/catalogue"
)

// Press does what a user does who presses a button: it creates an ERP request with its request details and queues a
// delivery for the company's hooks. payload is the ERP request, as Sample returns it; nil: a new Sample. Each
// request_detail_id in the payload or the catalogue gets a new request detail. The records that the catalogue marks
// are created if they are unknown. The event type need not be in the catalogue: Procore may have undocumented types.
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
	req := &request{id: sb.newRequestID(), co: co, eventType: eventType, clicked: time.Now(), done: make(chan struct{})}
	req.created = sb.recordTime(req.clicked)
	row, known := catalogue.Lookup(eventType)
	if known {
		addDetailPlaces(row, payload)
	}
	envelope(req, payload)
	sb.addDetails(req, row, "", payload, payload)
	if req.body, err = json.Marshal(payload); err != nil {
		return 0, fmt.Errorf("marshal the payload of %s: %w", eventType, err)
	}
	co.register(req, row, payload)
	sb.mu.Lock()
	sb.requests[req.id] = req
	sb.mu.Unlock()
	sb.notifyHooks(req, projectOf(payload))
	return req.id, nil
}

// undocumentedDetail has the types with a detail in request_data, although the published samples have none.
var undocumentedDetail = set("create_budget", "update_budget", "create_requisitions")

// addDetailPlaces adds a request_detail_id to a payload at each path that the catalogue has.
func addDetailPlaces(row catalogue.EventType, payload map[string]any) {
	places := row.DetailAt
	if undocumentedDetail[row.Name] {
		places = []string{"request_data.request_detail_id"}
	}
	for _, place := range places {
		Set(payload, place, json.Number("0"))
	}
}

// envelope sets the fields of the ERP request itself. Two types have no request_data; their payload stays the same.
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

// requestName returns the request name of an event type. That of create_payment is not the name of the type.
func requestName(eventType string) string {
	if row, known := catalogue.Lookup(eventType); known && len(row.Aliases) > 0 {
		return row.Aliases[0]
	}
	return eventType
}

// addDetails replaces each request_detail_id by the id of a new detail.
func (sb *Sandbox) addDetails(req *request, row catalogue.EventType, key string, v any, payload map[string]any) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			sb.addDetails(req, row, key, one, payload)
		}
	case map[string]any:
		if _, has := v["request_detail_id"]; has {
			d := &detail{id: sb.newID(), req: req, status: InProgress, messages: []string{}, updated: req.created}
			v["request_detail_id"] = d.id
			d.expects = expectations(row, payload, key, v)
			if len(d.expects) > 0 {
				d.itemType, d.itemID = d.expects[0].kind, d.expects[0].id
			}
			req.details = append(req.details, d)
		}
		for k, one := range v {
			sb.addDetails(req, row, k, one, payload)
		}
	}
}

// register adds the request's details and its unknown records to the company.
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
	co.setParents(payload)
	for kind, path := range unlinkedBefore[row.Name] {
		for _, v := range at(payload, path) {
			id, _ := parseID(v)
			if r := co.find(kind, id); r != nil {
				co.unlink(r, kind)
			}
		}
	}
}

// unlinkedBefore has the paths of the records that Procore unlinks before it creates the request, by kind.
var unlinkedBefore = map[string]map[string]string{
	"unlink_vendor":              {"vendor": "request_data.vendor.id"},
	"unlink_standard_cost_codes": {"standard_cost_code": "request_data.standard_cost_codes[].id"},
}

// projectOf returns the id of the payload's project, or 0.
func projectOf(payload map[string]any) int64 {
	for _, path := range []string{"request_data.project.id", "request_data.job.id", "request_data.project_id", "request_data.budget.project_id", "project_id", "request_data.commitment.project.id"} {
		if id := GetID(payload, path); id != 0 {
			return id
		}
	}
	return 0
}
