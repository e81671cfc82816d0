package tryton

import "strconv"

// rootOf says under which root an entity's accounts are.
var rootOf = map[entity]string{
	job: "jobs", subJob: "jobs", costCode: "jobs", assignment: "jobs",
	standardCostCode: "standard_cost_codes", standardCategory: "standard_categories",
}

// account are the values of an analytic account. A change gives it another code and name; it
// stays where it is in the tree.
func (w *work) account(old *face) (object, error) {
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

// leaf is an assignment's account: the cost type's code and name, unless the assignment has its own.
func (w *work) leaf(old *face) object {
	r := w.r
	category, costCode := w.found.of(standardCategory, r.CategoryOriginId), w.found.of(costCode, r.CostCodeOriginId)
	is, _ := category.booked()
	values := object{
		"name": or(or(r.Name, is.GetName()), "Cost type "+r.CategoryOriginId), "code": or(r.Code, is.GetCode()),
		"active": true, "tieback_cost_type": category.Resource,
	}
	return w.at(values, "normal", w.facts.Roots["jobs"], costCode.Resource)
}

func (w *work) at(values object, kind string, root, parent int64) object {
	values["type"], values["state"], values["company"] = kind, state(w.r), w.facts.id
	values["root"], values["parent"], values["tieback_level"] = root, parent, name(w.r.Entity)
	return values
}

// state is an analytic account's: a record that is deactivated is closed.
func state(r *record) string {
	if r.Inactive {
		return "closed"
	}
	return "opened"
}

// number is an origin id that is Tryton's id; 0: it is none.
func number(origin string) int64 {
	id, err := strconv.ParseInt(origin, 10, 64)
	if err != nil {
		return 0
	}
	return id
}
