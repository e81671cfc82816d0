package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"strconv"
	"time"
)

// versions are the shapes of deliveries that Rotate goes through.
var versions = []string{"v2.0", "v3.0", "v4.0"}

// announce queues a delivery for each of the company's hooks, some of them twice.
func (sb *Sandbox) announce(req *request, projectID int64) {
	for _, h := range sb.hooks.of(req.co) {
		version := h.version()
		event := newEvent(req, sb.mint(), projectID, version)
		first := &delivery{body: event.shape(version), entry: &entry{EventID: event.id, Event: event.log()}}
		out := []*delivery{first}
		if every := sb.cfg.DuplicateEvery; every > 0 && sb.hooks.announced.Add(1)%int64(every) == 0 || sb.chance(sb.cfg.DuplicateFraction) {
			out = append(out, &delivery{body: first.body, entry: first.entry})
		}
		h.announced(first.entry)
		for _, d := range out {
			h.pushLate(d, sb.late())
		}
	}
}

type event struct {
	id, resource, company, project, user int64
	ulid, version                        string
	at                                   time.Time
}

// theUser is the accountant who pressed the button.
const theUser = 4242

func newEvent(req *request, id, project int64, version string) event {
	return event{id: id, resource: req.id, company: req.co.ID, project: project, user: theUser, ulid: ulid(req.created), version: version, at: req.created}
}

// shape is the delivery's body.
//
//	v2.0: ids are integers; id, ulid, event_type, resource_name, metadata
//	v3.0: the same and related_resources: [{id, name}]
//	v4.0: ids are strings; id is the ULID; reason, resource_type; no metadata
func (e event) shape(version string) []byte {
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
	raw, _ := json.Marshal(body) // strings, integers and nulls: can't fail
	return raw
}

// log is the event as the delivery log shows it.
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

// ulid is 48 bits of time and 80 of chance, in Crockford's base 32.
func ulid(at time.Time) string {
	var out [26]byte
	ms := at.UnixMilli()
	for i := 9; i >= 0; i-- {
		out[i] = crockford[ms&31]
		ms >>= 5
	}
	var chance [16]byte
	_, _ = rand.Read(chance[:]) // never fails; see crypto/rand
	for i, b := range chance {
		out[10+i] = crockford[b&31]
	}
	return string(out[:])
}
