package sandbox

import (
	"maps"
	"net/http"
)

// syncStandardCostCodes writes to the list of the ERP connection.
func syncStandardCostCodes(c *call, body syncBody) answer {
	if bad := c.namesCompany(body.top); bad != nil {
		return *bad
	}
	if id, _ := parseID(body.top["standard_cost_code_list_id"]); id != c.co.StandardCostCodeListID {
		return invalid("standard_cost_code_list_id", "%v is not the list of the ERP connection, which is %d", body.top["standard_cost_code_list_id"], c.co.StandardCostCodeListID)
	}
	return c.sync(body.updates, c.upserting("standard_cost_code", 0))
}

// syncOfCompany is a direct sync: {company_id, updates}.
func syncOfCompany(kind string) func(*call, syncBody) answer {
	return func(c *call, body syncBody) answer {
		if bad := c.namesCompany(body.top); bad != nil {
			return *bad
		}
		return c.sync(body.updates, c.upserting(kind, 0))
	}
}

func (c *call) upserting(kind string, project int64) func(map[string]any) (map[string]any, itemErrors) {
	return func(item map[string]any) (map[string]any, itemErrors) { return c.upsert(kind, project, item) }
}

func (c *call) namesCompany(top map[string]any) *answer {
	id, valid := parseID(top["company_id"])
	if !valid {
		return new(invalid("company_id", "is missing in the body: {\"company_id\": …, \"updates\": [...]}"))
	}
	if id != c.co.ID {
		return new(refuse(http.StatusForbidden, "You do not have access to company %d: this client belongs to another company", id))
	}
	return nil
}

func syncSubJobs(c *call, body syncBody) answer {
	if bad := c.knownProject(body.top["project_id"]); bad != nil {
		return *bad
	}
	project, _ := parseID(body.top["project_id"])
	return c.sync(body.updates, c.upserting("sub_job", project))
}

// syncCostCodes writes the cost codes of an ERP project. There is no other route for this.
func syncCostCodes(c *call, body syncBody) answer {
	biller, bad := c.costCodeParent()
	if bad != nil {
		return *bad
	}
	return c.sync(body.updates, c.upserting("cost_code", biller))
}

func syncJobCosts(c *call, body syncBody) answer {
	if bad := c.namesCompany(body.top); bad != nil {
		return *bad
	}
	project, bad := c.jobOf(text(body.top["job_origin_id"]))
	if bad != nil {
		return *bad
	}
	return c.sync(body.updates, c.upserting(kindJobCost, project))
}

// jobOf returns the id of a synced job or sub job by its origin id.
func (c *call) jobOf(origin string) (int64, *answer) {
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	for _, kind := range []string{"project", "sub_job"} {
		if r := c.co.byOrigin(kind, origin); r != nil && origin != "" {
			return r.id, nil
		}
	}
	return 0, new(invalid("job_origin_id", "no job with origin id %q is synced in company %d", origin, c.co.ID))
}

// syncInsurances writes the certificates of known vendors.
func syncInsurances(c *call, body syncBody) answer {
	if _, given := body.top["company_id"]; given {
		if bad := c.namesCompany(body.top); bad != nil {
			return *bad
		}
	}
	return c.sync(body.updates, func(item map[string]any) (map[string]any, itemErrors) {
		if v, given := item["vendor_id"]; given {
			if id, _ := parseID(v); c.co.find("vendor", id) == nil {
				return nil, fieldError("vendor_id", "no vendor %v in company %d", v, c.co.ID)
			}
		}
		return c.upsert("insurance", 0, item)
	})
}

// syncInvoicePayments writes the payments of known invoices.
func syncInvoicePayments(c *call, body syncBody) answer {
	return c.sync(body.updates, func(item map[string]any) (map[string]any, itemErrors) {
		if item["invoice_type"] != "Billings::Requisition" {
			return nil, fieldError("invoice_type", "must be \"Billings::Requisition\", not %v", item["invoice_type"])
		}
		if id, _ := parseID(item["invoice_id"]); c.co.find("requisition", id) == nil {
			return nil, fieldError("invoice_id", "no requisition %v in company %d", item["invoice_id"], c.co.ID)
		}
		return c.upsert("invoice_payment", 0, item)
	})
}

// updateRecord is PATCH of one record: {"project": {…}}.
func updateRecord(kind string) func(*call) answer {
	return func(c *call) answer {
		var body map[string]any
		if err := c.decode(&body); err != nil {
			return refuse(http.StatusBadRequest, "%v", err)
		}
		fields, isObject := body[kind].(map[string]any)
		if !isObject {
			return invalid(kind, "is missing: send {%q: {…}}", kind)
		}
		c.co.mu.Lock()
		defer c.co.mu.Unlock()
		r := c.co.find(kind, c.pathID("id"))
		if r == nil {
			return refuse(http.StatusNotFound, "%s %s is not in company %d", kind, c.r.PathValue("id"), c.co.ID)
		}
		r.update(0, fields)
		entity := maps.Clone(fields)
		entity["id"] = r.id
		return ok(entity)
	}
}

func deleteRecord(kind string) func(*call) answer {
	return func(c *call) answer {
		c.co.mu.Lock()
		defer c.co.mu.Unlock()
		r := c.co.find(kind, c.pathID("id"))
		if r == nil {
			return refuse(http.StatusNotFound, "%s %s is not in company %d; was it deleted before?", kind, c.r.PathValue("id"), c.co.ID)
		}
		c.co.remove(r)
		return answer{status: http.StatusNoContent}
	}
}

func deleteAssignment(c *call) answer {
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	id := c.pathID("id")
	key, known := c.co.assigned[id]
	if !known {
		return refuse(http.StatusNotFound, "assignment %s is not in company %d; was it deleted before?", c.r.PathValue("id"), c.co.ID)
	}
	delete(c.co.assigned, id)
	delete(c.co.assignments, key)
	return answer{status: http.StatusNoContent}
}
