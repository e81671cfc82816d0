package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"strconv"
	"time"
)

// versions are the formats of deliveries, in the order of Rotate.
var versions = []string{"v2.0", "v3.0", "v4.0"}

// notifyHooks queues a delivery for each hook of the company, and a duplicate for a fraction of them.
func (sb *Sandbox) notifyHooks(req *request, projectID int64) {
	for _, h := range sb.hooks.of(req.co) {
		version := h.version()
		event := newEvent(req, sb.newID(), projectID, version)
		first := &delivery{body: event.body(version), entry: &entry{EventID: event.id, Event: event.log()}}
		out := []*delivery{first}
		if sb.chance(sb.cfg.DuplicateFraction) {
			out = append(out, &delivery{body: first.body, entry: first.entry})
		}
		h.logEvent(first.entry)
		for _, d := range out {
			h.pushAfter(d, sb.deliveryDelay())
		}
	}
}

type event struct {
	id, resource, company, project, user int64
	ulid, version                        string
	at                                   time.Time
}

// userID is the id of the user who pressed the button.
const userID = 4242

func newEvent(req *request, id, project int64, version string) event {
	return event{id: id, resource: req.id, company: req.co.ID, project: project, user: userID, ulid: ulid(req.created), version: version, at: req.created}
}

// body returns the body of a delivery.
//
//	v2.0: ids are integers; id, ulid, event_type, resource_name, metadata
//	v3.0: the same and related_resources: [{id, name}]
//	v4.0: ids are strings; id is the ULID; reason, resource_type; no metadata
func (e event) body(version string) []byte {
	body := map[string]any{"timestamp": e.at.UTC().Format(time.RFC3339Nano)}
	if version == "v4.0" {
		body["id"], body["reason"], body["resource_type"] = e.ulid, "create", erpRequests
		body["resource_id"], body["company_id"] = strconv.FormatInt(e.resource, 10), strconv.FormatInt(e.company, 10)
		body["project_id"], body["user_id"] = nil, strconv.FormatInt(e.user, 10)
		if e.project != 0 {
			body["project_id"] = strconv.FormatInt(e.project, 10)
		}
		body["related_resources"] = []map[string]any{{"id": body["company_id"], "name": "Companies"}}
	} else {
		body["id"], body["ulid"], body["event_type"], body["resource_name"] = e.id, e.ulid, "create", erpRequests
		body["resource_id"], body["company_id"], body["project_id"], body["user_id"] = e.resource, e.company, orNull(e.project), e.user
		body["metadata"] = map[string]any{"source_user_id": nil, "source_project_id": nil, "source_company_id": nil}
		if version == "v3.0" {
			body["related_resources"] = []map[string]any{{"id": e.company, "name": "Companies"}}
		}
	}
	raw, _ := json.Marshal(body) // does not fail for strings, integers and nulls
	return raw
}

// log returns the event as the delivery log shows it.
func (e event) log() map[string]any {
	return map[string]any{
		"id": e.id, "ulid": e.ulid, "timestamp": e.at.UTC().Format(time.RFC3339Nano), "resource_name": erpRequests, "resource_id": e.resource,
		"event_type": "create", "company_id": e.company, "project_id": orNull(e.project), "user_id": e.user, "api_version": e.version, "metadata": map[string]any{},
	}
}

func orNull(id int64) any {
	if id == 0 {
		return nil
	}
	return id
}

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ulid returns 48 bits of time and 80 random bits in Crockford's base 32.
func ulid(at time.Time) string {
	var out [26]byte
	ms := at.UnixMilli()
	for i := 9; i >= 0; i-- {
		out[i] = crockford[ms&31]
		ms >>= 5
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails; see crypto/rand
	for i, b := range random {
		out[10+i] = crockford[b&31]
	}
	return string(out[:])
}
