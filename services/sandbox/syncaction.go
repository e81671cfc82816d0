package sandbox

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
)

// maxUpdates is the maximum number of updates in a sync action.
const maxUpdates = 1000

// syncBody is the body of a sync action.
type syncBody struct {
	top     map[string]any // the whole body
	updates []map[string]any
}

// syncAction returns the handler of a sync action. It refuses a call without valid updates.
func syncAction(do func(*call, syncBody) answer) func(*call) answer {
	return func(c *call) answer {
		body, bad := c.syncBody()
		if bad != nil {
			return *bad
		}
		return do(c, body)
	}
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
		return b, new(invalid("updates", "has %d items: send at most %d per call", len(list), maxUpdates))
	}
	for i, v := range list {
		item, isObject := v.(map[string]any)
		if !isObject {
			return b, new(invalid("updates", "[%d] is not an object", i))
		}
		b.updates = append(b.updates, item)
	}
	return b, nil
}

// sync calls each for every update, with the company's lock held. Like all sync actions it answers 200 even if items
// fail, and returns the failed items with their errors.
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

// originID reads the origin id of an item. It is "" if it is null or absent; given reports that it is not absent.
func originID(item map[string]any) (origin string, given bool, errs itemErrors) {
	v, given := item["origin_id"]
	if !given || v == nil {
		return "", given, nil
	}
	origin, isString := v.(string)
	if !isString || strings.TrimSpace(origin) == "" {
		return "", true, fieldError("origin_id", "must not be blank: send null to mark the record as not synced")
	}
	return origin, true, nil
}

// upsert updates the record with the item's id. Without an id, it updates the record with the item's origin id or
// creates one. With both, the record gets the origin id.
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
			return nil, fieldError("origin_id", "%v", err)
		}
	}
	r.update(project, item)
	entity := maps.Clone(item)
	entity["id"] = r.id
	return entity, nil
}

func (c *call) target(kind, origin string, item map[string]any) (*record, itemErrors) {
	if v, given := item["id"]; given && v != nil {
		id, valid := parseID(v)
		r := c.co.find(kind, id)
		if !valid || r == nil {
			return nil, fieldError("id", "no %s with this id in company %d", kind, c.co.ID)
		}
		return r, nil
	}
	if origin != "" {
		if r := c.co.byOrigin(kind, origin); r != nil {
			return r, nil
		}
	}
	return c.co.add(kind, c.sb.newID()), nil
}

// update stores the fields of an item.
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

// isTrue reports whether v is true.
func isTrue(v any) bool {
	b, isBool := v.(bool)
	return isBool && b
}

// text returns a string or a number as text, and "" for any other value.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}
