package payload

import (
	"cmp"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Vendor reads create_vendor.
func Vendor(q Request) ([]Document, error) {
	r := q.reader("vendor")
	v := r.object(q.Data, "vendor")
	rec := r.record(tiebackv1.Entity_ENTITY_VENDOR, v)
	rec.Name = cmp.Or(v.Text("name"), v.Text("company"))
	rec.Description = v.Text("notes")
	if active, given := v["is_active"].(bool); given {
		rec.Inactive = !active
	}
	rec.Contact = contact(v)
	return []Document{{Record: rec, ItemType: "vendor", Deleted: deleted(v)}}, r.err
}

// contact reads an address and contact data. It returns nil if there is nothing.
func contact(o Object) *tiebackv1.Contact {
	c := &tiebackv1.Contact{
		Street: o.Text("address"), City: o.Text("city"), State: o.Text("state_code"), Zip: o.Text("zip"), Country: o.Text("country_code"),
		Phone: cmp.Or(o.Text("business_phone"), o.Text("mobile_phone")), Email: o.Text("email_address"), Website: o.Text("website"),
	}
	for _, s := range []string{c.Street, c.City, c.State, c.Zip, c.Country, c.Phone, c.Email, c.Website} {
		if s != "" {
			return c
		}
	}
	return nil
}

// StandardCostCodes reads create_standard_cost_codes: codes with a request detail each, parents before
// children.
func StandardCostCodes(q Request) ([]Document, error) {
	r := q.reader("standard cost code")
	if len(q.List) == 0 {
		r.malformed("the list is empty")
		return nil, r.err
	}
	var out []Document
	parent := undeletedParent(q.List, func(o Object) int64 { return o.ID("parent_id") })
	for _, o := range parentsFirst(q.List, parent) {
		rec := r.record(tiebackv1.Entity_ENTITY_STANDARD_COST_CODE, o)
		rec.Code, rec.Name, rec.ParentOriginId = fullCode(o), o.Text("name"), o.Text("parent_origin_id")
		d := Document{Record: rec, ItemType: "standard_cost_code", Detail: r.ref(o, "request_detail_id"), Deleted: deleted(o)}
		if r.ref(o, "parent_id") != parent(o) {
			rec.ParentOriginId = ""
		}
		d.addRef(&rec.ParentOriginId, parent(o), "", "standard_cost_code")
		out = append(out, r.isolate(d))
	}
	return out, nil
}

// fullCode returns a cost code with the codes of its parents: "1-010". The last part alone, which Procore
// calls code, is not unique within a job.
func fullCode(o Object) string {
	return cmp.Or(o.Text("full_code"), o.Text("sortable_code"), o.Text("code"))
}

// undeletedParent returns a function like parent that returns 0 for a deleted parent.
func undeletedParent(codes []Object, parent func(Object) int64) func(Object) int64 {
	gone := map[int64]bool{}
	for _, o := range codes {
		gone[o.ID("id")] = deleted(o)
	}
	return func(o Object) int64 {
		if id := parent(o); !gone[id] {
			return id
		}
		return 0
	}
}

// parentsFirst orders cost codes so that parents come before their children, and otherwise keeps their order.
// Codes that are each other's parents come last.
func parentsFirst(codes []Object, parent func(Object) int64) []Object {
	waiting := map[int64]bool{}
	for _, o := range codes {
		waiting[o.ID("id")] = true
	}
	delete(waiting, 0) // 0 is no id and no parent
	var out []Object
	for len(codes) > 0 {
		var later []Object
		for _, o := range codes {
			if p := parent(o); p != o.ID("id") && waiting[p] {
				later = append(later, o)
				continue
			}
			out = append(out, o)
			delete(waiting, o.ID("id"))
		}
		if len(later) == len(codes) {
			return append(out, later...)
		}
		codes = later
	}
	return out
}
