package tryton

import (
	"cmp"
	"strconv"
)

// rootOf maps entities to the root of their accounts.
var rootOf = map[entity]string{
	job: "jobs", subJob: "jobs", costCode: "jobs", assignment: "jobs",
	standardCostCode: "standard_cost_codes", standardCategory: "standard_categories",
}

// account returns the values of an analytic account. A change sets its code and name; its place in the tree
// stays the same.
func (w *work) account(old *mapping) (object, error) {
	r := w.r
	if r.Entity == assignment {
		return w.leaf(old), nil
	}
	values := object{"name": r.Name, "note": r.Description}
	if r.Code != "" || old == nil {
		values["code"] = r.Code
	}
	if old != nil {
		values["state"] = state(r)
		return values, nil
	}
	kind := "view"
	if r.Entity == standardCostCode || r.Entity == standardCategory {
		kind = "normal"
	}
	root := w.facts.Roots[rootOf[r.Entity]]
	parent := root
	for _, above := range []string{r.JobOriginId, r.SubJobOriginId, r.ParentOriginId} {
		if id := number(above); id != 0 {
			parent = id
		}
	}
	return w.at(values, kind, root, parent), nil
}

// leaf returns the values of an assignment's account: the code and name of the cost type, unless the
// assignment has its own.
func (w *work) leaf(old *mapping) object {
	r := w.r
	category, costCode := w.found.of(standardCategory, r.CategoryOriginId), w.found.of(costCode, r.CostCodeOriginId)
	is, _ := category.booked()
	values := object{
		"name": cmp.Or(cmp.Or(r.Name, is.GetName()), "Cost type "+r.CategoryOriginId), "code": cmp.Or(r.Code, is.GetCode()),
		"active": true, "tieback_cost_type": category.Resource,
	}
	return w.at(values, "normal", w.facts.Roots["jobs"], costCode.Resource)
}

func (w *work) at(values object, kind string, root, parent int64) object {
	values["type"], values["state"], values["company"] = kind, state(w.r), w.facts.id
	values["root"], values["parent"], values["tieback_level"] = root, parent, name(w.r.Entity)
	return values
}

// state returns the state of an analytic account. A deactivated record is closed.
func state(r *record) string {
	if r.Inactive {
		return "closed"
	}
	return "opened"
}

// number returns the Tryton id in an origin id, or 0 if it is not a number.
func number(origin string) int64 {
	id, err := strconv.ParseInt(origin, 10, 64)
	if err != nil {
		return 0
	}
	return id
}
