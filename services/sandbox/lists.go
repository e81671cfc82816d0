package sandbox

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// listRoutes returns the lists of the records that external data marks. Package schema has their query parameters.
func listRoutes() []route {
	const co = v1 + "/companies/{company_id}"
	return []route{
		{"GET " + v1 + "/vendors", listOf("vendor", requireIDs("company_id"), active("is_active", true))},
		{"GET " + co + "/vendors/inactive", listOf("vendor", requireIDs(), active("is_active", false))},
		{"GET " + v1 + "/projects", listOf("project", requireIDs("company_id"), byStatus, isPermitted)},
		{"GET " + v1 + "/line_item_types", listOf("line_item_type", requireIDs("company_id"))},
		{"GET " + v1 + "/standard_cost_codes", listOf("standard_cost_code", requireIDs("company_id", "standard_cost_code_list_id"))},
		{"GET " + co + "/company_level_direct_costs", listOf("company_level_direct_cost", requireIDs())},
		{"GET " + co + "/insurances", listOf("insurance", requireIDs())},
		{"GET " + co + "/invoice_payments", listOf("invoice_payment", requireIDs())},

		{"GET " + v1 + "/sub_jobs", listOf("sub_job", requireIDs("project_id"), inProject)},
		{"GET " + v1 + "/cost_codes", listOf("cost_code", requireIDs("project_id"), ofBiller)},
		{"GET " + v1 + "/work_order_contracts", listOf("work_order_contract", requireIDs("project_id"), inProject)},
		{"GET " + v1 + "/purchase_order_contracts", listOf("purchase_order_contract", requireIDs("project_id"), inProject)},
		{"GET " + v1 + "/prime_contracts", listOf("prime_contract", requireIDs("project_id"), inProject)},
		{"GET " + v1 + "/requisitions", listOf("requisition", requireIDs("project_id"), inProject)},
		{"GET " + v1 + "/payment_applications", listOf("payment_application", requireIDs("project_id"), inProject)},
		{"GET " + v1 + "/contract_payments", listOf("contract_payment", requireIDs("project_id", "contract_id"), inProject, ofContract)},
		{"GET " + v1 + "/projects/{project_id}/commitment_change_orders", listOf("change_order", requireIDs(), inProject, onPrime(false))},
		{"GET " + v1 + "/projects/{project_id}/prime_change_orders", listOf("change_order", requireIDs(), inProject, onPrime(true))},
		{"GET " + v1 + "/work_order_contracts/{contract_id}/line_items", listOf("line_item", requireIDs("project_id"), ofContract)},
		{"GET " + v1 + "/purchase_order_contracts/{contract_id}/line_items", listOf("line_item", requireIDs("project_id"), ofContract)},
		{"GET " + v1 + "/prime_contracts/{contract_id}/line_items", listOf("line_item", requireIDs("project_id"), ofContract)},
	}
}

// check refuses a call to a list, or returns nil. It is called with the company's lock held.
type check func(*call) *answer

// filter reports whether a record is in the list of a call.
type filter func(*call, *record) bool

// listOf returns a page of the records of a kind that pass all filters, ordered by id.
func listOf(kind string, check check, filters ...filter) func(*call) answer {
	return func(c *call) answer {
		c.co.mu.Lock()
		defer c.co.mu.Unlock()
		if bad := check(c); bad != nil {
			return *bad
		}
		all := []*record{}
		for _, id := range slices.Sorted(maps.Keys(c.co.records[kind])) {
			r := c.co.records[kind][id]
			if !slices.ContainsFunc(filters, func(f filter) bool { return !f(c, r) }) {
				all = append(all, r)
			}
		}
		return paged(c, all, c.listItem())
	}
}

// paged returns a page of a list with the paging headers: ?page=&per_page=. per_page is 100 by default and at most
// 10,000.
func paged[T any](c *call, all []T, show func(T) map[string]any) answer {
	q := c.r.URL.Query()
	page, per := atLeast1(q.Get("page"), 1), min(atLeast1(q.Get("per_page"), 100), 10_000)
	from := min((page-1)*per, len(all))
	to := min(from+per, len(all))
	a := ok(each(all[from:to], show))
	a.header = map[string]string{"Total": strconv.Itoa(len(all)), "Per-Page": strconv.Itoa(per)}
	if to < len(all) {
		q.Set("page", strconv.Itoa(page+1))
		a.header["Link"] = fmt.Sprintf("<http://%s%s?%s>; rel=\"next\"", c.r.Host, c.r.URL.Path, q.Encode())
	}
	return a
}

// requireIDs returns a check for ids in the query that are ids of the company.
func requireIDs(names ...string) check {
	return func(c *call) *answer {
		for _, name := range names {
			if c.queryID(name) == 0 {
				return new(invalid(name, "is missing in the query: ?%s=", name))
			}
		}
		return c.checkIDs()
	}
}

// checkIDs refuses ids in the path and the query that are not ids of the company.
func (c *call) checkIDs() *answer {
	if id := c.queryID("company_id"); id != 0 && id != c.co.ID {
		return new(refuse(http.StatusForbidden, "You do not have access to company %d: this client belongs to another company", id))
	}
	if id := c.queryID("standard_cost_code_list_id"); id != 0 && id != c.co.StandardCostCodeListID {
		return new(refuse(http.StatusNotFound, "standard cost code list %d is not in company %d", id, c.co.ID))
	}
	if id := c.either("project_id"); id != 0 && (c.co.find("project", id) == nil || !c.co.visible(id)) {
		return new(refuse(http.StatusNotFound, "project %d is not in company %d", id, c.co.ID))
	}
	if id := c.queryID("sub_job_id"); id != 0 && c.co.find("sub_job", id) == nil {
		return new(refuse(http.StatusNotFound, "sub job %d is not in company %d", id, c.co.ID))
	}
	if id := c.either("contract_id"); id != 0 && c.co.contract(id) == nil {
		return new(refuse(http.StatusNotFound, "contract %d is not in company %d", id, c.co.ID))
	}
	return nil
}

// either returns an id in the path, otherwise in the query, otherwise 0.
func (c *call) either(name string) int64 {
	if id := c.pathID(name); id != 0 {
		return id
	}
	return c.queryID(name)
}

func (co *company) contract(id int64) *record {
	for _, kind := range []string{"work_order_contract", "purchase_order_contract", "prime_contract"} {
		if r := co.find(kind, id); r != nil {
			return r
		}
	}
	return nil
}

func isPermitted(c *call, r *record) bool { return c.co.visible(r.id) }

func inProject(c *call, r *record) bool  { return r.project == c.either("project_id") }
func ofBiller(c *call, r *record) bool   { return r.project == c.costCodeParentID() }
func ofContract(c *call, r *record) bool { return r.parent == c.either("contract_id") }

// active returns a filter for a field that is true by default.
func active(field string, want bool) filter {
	return func(_ *call, r *record) bool { return (r.data[field] != false) == want }
}

// byStatus passes projects with the status in the query, by default the active ones.
func byStatus(c *call, r *record) bool {
	status := c.r.URL.Query().Get("filters[by_status]")
	return status == "All" || active("active", status != "Inactive")(c, r)
}

// onPrime returns a filter for the change orders of prime contracts, or for those of commitments.
func onPrime(want bool) filter {
	return func(c *call, r *record) bool { return (c.co.find("prime_contract", r.parent) != nil) == want }
}

// listItem returns a function that formats a record for a list. A change order, and a contract in the extended view,
// have their lines.
func (c *call) listItem() func(*record) map[string]any {
	extended := c.r.URL.Query().Get("view") == "extended"
	lines, markups := c.co.byParent("line_item"), c.co.byParent("markup")
	line := func(r *record) map[string]any {
		out := r.fields()
		out["markup_line_items"] = each(markups[r.id], (*record).fields)
		return out
	}
	return func(r *record) map[string]any {
		if r.kind == "line_item" {
			return line(r)
		}
		out := r.fields()
		if r.kind == "standard_cost_code" {
			return c.standardCostCode(out)
		}
		if r.kind == "change_order" || extended {
			out["line_items"] = each(lines[r.id], line)
		}
		return out
	}
}

// standardCostCode returns the fields of the view. The default view has only ids, without the origin id.
func (c *call) standardCostCode(all map[string]any) map[string]any {
	out := map[string]any{"id": all["id"], "standard_cost_code_list_id": c.co.StandardCostCodeListID}
	switch c.r.URL.Query().Get("view") {
	case "extended":
		maps.Copy(out, all)
	case "compact":
		out["origin_id"] = all["origin_id"]
	}
	return out
}

func (r *record) fields() map[string]any {
	out := maps.Clone(r.data)
	if out == nil {
		out = map[string]any{}
	}
	out["id"], out["origin_id"], out["origin_code"] = r.id, nil, r.code
	if r.origin != "" {
		out["origin_id"] = r.origin
	}
	return out
}

// byParent returns the records of a kind by parent, each group ordered by id.
func (co *company) byParent(kind string) map[int64][]*record {
	out := map[int64][]*record{}
	for _, id := range slices.Sorted(maps.Keys(co.records[kind])) {
		if r := co.records[kind][id]; r.parent != 0 {
			out[r.parent] = append(out[r.parent], r)
		}
	}
	return out
}

// each returns show of all records; it is never nil.
func each[T any](all []T, show func(T) map[string]any) []map[string]any {
	out := make([]map[string]any, 0, len(all))
	for _, one := range all {
		out = append(out, show(one))
	}
	return out
}
