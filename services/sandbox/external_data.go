package sandbox

import (
	"maps"
	"net/http"
)

// syncExternalData marks records as synced, or as not synced: origin_id null.
func syncExternalData(c *call, body syncBody) answer {
	return c.sync(body.updates, c.mark)
}

func (c *call) mark(item map[string]any) (map[string]any, itemErrors) {
	kind, _ := item["item_type"].(string)
	if !itemTypes[kind] {
		return nil, fieldError("item_type", "%q is not an item type of external data", kind)
	}
	id, valid := parseID(item["item_id"])
	r := c.co.find(kind, id)
	if !valid || r == nil {
		return nil, fieldError("item_id", "%s %v could not be found in company %d", kind, item["item_id"], c.co.ID)
	}
	origin, given, errs := originID(item)
	if errs != nil {
		return nil, errs
	}
	if !given {
		return nil, fieldError("origin_id", "is missing: send the id in the ERP, or null to mark the record as not synced")
	}
	if err := c.co.link(r, origin); err != nil {
		return nil, fieldError("origin_id", "%v", err)
	}
	if code, isString := item["origin_code"].(string); isString {
		r.code = code
	}
	entity := maps.Clone(item)
	entity["id"] = id
	return entity, nil
}

// syncAssignments marks line item type assignments as synced. It creates those that do not exist.
func syncAssignments(c *call, body syncBody) answer {
	if _, bad := c.costCodeParent(); bad != nil {
		return *bad
	}
	return c.sync(body.updates, c.markAssignment)
}

func (c *call) markAssignment(item map[string]any) (map[string]any, itemErrors) {
	costCode, _ := parseID(item["cost_code_id"])
	cc := c.co.find("cost_code", costCode)
	if cc == nil {
		return nil, fieldError("cost_code_id", "no cost_code %v in company %d", item["cost_code_id"], c.co.ID)
	}
	if place := c.costCodeParentID(); cc.project != 0 && cc.project != place {
		return nil, fieldError("cost_code_id", "cost_code %d belongs to %d, not to %d in the query", costCode, cc.project, place)
	}
	lineItemType, _ := parseID(item["line_item_type_id"])
	if c.co.find("line_item_type", lineItemType) == nil {
		return nil, fieldError("line_item_type_id", "no line_item_type %v in company %d", item["line_item_type_id"], c.co.ID)
	}
	a := c.co.assign(assignmentKey{costCode, lineItemType}, c.sb.newID)
	if synced, given := item["synced"]; given {
		a.synced = isTrue(synced)
	}
	entity := maps.Clone(item)
	entity["id"] = a.id
	return entity, nil
}

// costCodeParentID returns the parent of the cost codes in the query: the sub job, otherwise the project.
func (c *call) costCodeParentID() int64 {
	if sub := c.queryID("sub_job_id"); sub != 0 {
		return sub
	}
	return c.queryID("project_id")
}

// costCodeParent checks ?project_id=[&sub_job_id=].
func (c *call) costCodeParent() (biller int64, bad *answer) {
	q := c.r.URL.Query()
	if q.Get("project_id") == "" {
		return 0, new(invalid("project_id", "is missing in the query: ?project_id=[&sub_job_id=]"))
	}
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	if c.co.find("project", c.queryID("project_id")) == nil {
		return 0, new(refuse(http.StatusNotFound, "project %s is not in company %d", q.Get("project_id"), c.co.ID))
	}
	if q.Get("sub_job_id") != "" && c.co.find("sub_job", c.queryID("sub_job_id")) == nil {
		return 0, new(refuse(http.StatusNotFound, "sub job %s is not in company %d", q.Get("sub_job_id"), c.co.ID))
	}
	return c.costCodeParentID(), nil
}

// syncTransactions marks budget transactions: {project_id, updates: [{id, origin_id, synced: true}]}.
func syncTransactions(c *call, body syncBody) answer {
	if bad := c.knownProject(body.top["project_id"]); bad != nil {
		return *bad
	}
	return c.sync(body.updates, func(item map[string]any) (map[string]any, itemErrors) {
		id, _ := parseID(item["id"])
		r := c.co.find(kindTransaction, id)
		if r == nil {
			return nil, fieldError("id", "no ERP transaction %v in company %d", item["id"], c.co.ID)
		}
		origin, _, errs := originID(item)
		if errs != nil {
			return nil, errs
		}
		if origin == "" && isTrue(item["synced"]) {
			return nil, fieldError("origin_id", "is missing: a synced transaction needs the id in the ERP")
		}
		if err := c.co.link(r, origin); err != nil {
			return nil, fieldError("origin_id", "%v", err)
		}
		return maps.Clone(item), nil
	})
}

func (c *call) knownProject(v any) *answer {
	id, _ := parseID(v)
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	if c.co.find("project", id) == nil {
		return new(invalid("project_id", "%v is not a project of company %d", v, c.co.ID))
	}
	return nil
}

// unlinkRecord is status management: it marks a record as not synced. Its staged record can be imported again.
func unlinkRecord(c *call) answer {
	var body struct {
		ItemType string `json:"item_type"`
		ItemID   any    `json:"item_id"`
	}
	if err := c.decode(&body); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	if !itemTypes[body.ItemType] {
		return invalid("item_type", "%q is not an item type of external data", body.ItemType)
	}
	id, _ := parseID(body.ItemID)
	return c.unlink(id, body.ItemID, body.ItemType)
}

// unlinkPayment unlinks a payment that was synced from the ERP or exported to it.
func unlinkPayment(c *call) answer {
	return c.unlink(c.pathID("id"), c.r.PathValue("id"), "invoice_payment", "contract_payment")
}

func (c *call) unlink(id int64, shown any, kinds ...string) answer {
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	for _, kind := range kinds {
		r := c.co.find(kind, id)
		if r == nil {
			continue
		}
		if r.origin == "" {
			return invalid("item_id", "%s %d is not synced: it cannot be unlinked", kind, id)
		}
		c.co.unlink(r, kind)
		return ok(map[string]any{"item_type": kind, "item_id": id, "origin_id": nil})
	}
	return invalid("item_id", "%s %v could not be found in company %d", kinds[0], shown, c.co.ID)
}

// unlink unlinks a record. Its staged record can be imported again. The caller holds the company's lock.
func (co *company) unlink(r *record, kind string) {
	if st := co.stagedFor(kind, r.origin); st != nil {
		st.status = statusStaged
	}
	_ = co.link(r, "") // does not fail for an empty origin id
}
