package sandbox

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
)

// maxUpdates is how many resources a sync call may carry.
const maxUpdates = 1000

// syncBody is a sync call's body: its updates and whatever stands beside them.
type syncBody struct {
	top     map[string]any
	updates []map[string]any
}

func (c *call) syncBody() (syncBody, *answer) {
	var b syncBody
	if err := c.decode(&b.top); err != nil {
		return b, new(refuse(http.StatusBadRequest, "%v", err))
	}
	list, isList := b.top["updates"].([]any)
	if !isList {
		return b, new(invalid("updates", "is missing: send {\"updates\": [...]}"))
	}
	if len(list) > maxUpdates {
		return b, new(invalid("updates", "has %d resources: send at most %d a call", len(list), maxUpdates))
	}
	for i, v := range list {
		item, isObject := v.(map[string]any)
		if !isObject {
			return b, new(invalid("updates", "[%d] is no object", i))
		}
		b.updates = append(b.updates, item)
	}
	return b, nil
}

// sync runs each update under the company's lock and answers as all sync actions do:
// 200 even when items fail, the failed ones repeated with their errors.
func (c *call) sync(updates []map[string]any, each func(item map[string]any) (entity map[string]any, errs itemErrors)) answer {
	entities, failed := make([]map[string]any, 0, len(updates)), []map[string]any{}
	c.co.mu.Lock()
	for _, item := range updates {
		entity, errs := each(item)
		if errs == nil {
			entities = append(entities, entity)
			continue
		}
		bad := maps.Clone(item)
		bad["errors"] = errs
		failed = append(failed, bad)
	}
	c.co.mu.Unlock()
	return ok(map[string]any{"entities": entities, "errors": failed})
}

// originID reads an item's origin id: absent, null (given, "") or a string.
func originID(item map[string]any) (origin string, given bool, errs itemErrors) {
	v, given := item["origin_id"]
	if !given || v == nil {
		return "", given, nil
	}
	origin, isString := v.(string)
	if !isString || strings.TrimSpace(origin) == "" {
		return "", true, because("origin_id", "must be a string that is not blank, or null to mark the record as not synced")
	}
	return origin, true, nil
}

// upsert is what every direct sync does with an item: neither id nor origin id creates;
// an id updates, or fails if unknown; an origin id updates or creates; with both the record
// is found by id and its origin id changes.
func (c *call) upsert(kind string, project int64, item map[string]any) (map[string]any, itemErrors) {
	origin, given, errs := originID(item)
	if errs != nil {
		return nil, errs
	}
	r, errs := c.target(kind, origin, item)
	if errs != nil {
		return nil, errs
	}
	if given {
		if err := c.co.link(r, origin); err != nil {
			return nil, because("origin_id", "%v", err)
		}
	}
	r.update(project, item)
	entity := maps.Clone(item)
	entity["id"] = r.id
	return entity, nil
}

func (c *call) target(kind, origin string, item map[string]any) (*record, itemErrors) {
	if v, given := item["id"]; given && v != nil {
		id, valid := asID(v)
		r := c.co.find(kind, id)
		if !valid || r == nil {
			return nil, because("id", "no %s with this id in company %d", kind, c.co.ID)
		}
		return r, nil
	}
	if origin != "" {
		if r := c.co.byOrigin(kind, origin); r != nil {
			return r, nil
		}
	}
	return c.co.add(kind, c.sb.mint()), nil
}

// update keeps what was written, for whoever looks.
func (r *record) update(project int64, item map[string]any) {
	if r.data == nil {
		r.data = map[string]any{}
	}
	maps.Copy(r.data, item)
	for _, field := range []string{"origin_code", "code"} {
		if code, isString := item[field].(string); isString && code != "" {
			r.code = code
			break
		}
	}
	if project != 0 {
		r.project = project
	}
}

// Data is what direct syncs and updates wrote to a record; money as json.Number or string.
func (sb *Sandbox) Data(companyID int64, itemType string, id int64) map[string]any {
	co, err := sb.company(companyID)
	if err != nil {
		return nil
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	if r := co.find(itemType, id); r != nil {
		return maps.Clone(r.data)
	}
	return nil
}

// isTrue reads a flag.
func isTrue(v any) bool {
	b, isBool := v.(bool)
	return isBool && b
}

// text reads a string or a number as text; "" for anything else.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}
