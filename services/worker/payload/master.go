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
	if active, said := v["is_active"].(bool); said {
		rec.Inactive = !active
	}
	rec.Contact = contact(v)
	return []Document{{Record: rec, ItemType: "vendor", Deleted: deleted(v)}}, r.err
}

// contact reads an address and how to reach it; nil where there is nothing.
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

// StandardCostCodes reads create_standard_cost_codes: codes with a request detail each,
// parents before their children.
func StandardCostCodes(q Request) ([]Document, error) {
	r := q.reader("standard cost code")
	if len(q.List) == 0 {
		r.bad("there is none in the list")
		return nil, r.err
	}
	var out []Document
	above := alive(q.List, func(o Object) int64 { return o.ID("parent_id") })
	for _, o := range parentsFirst(q.List, above) {
		rec := r.record(tiebackv1.Entity_ENTITY_STANDARD_COST_CODE, o)
		rec.Code, rec.Name, rec.ParentOriginId = codeOf(o), o.Text("name"), o.Text("parent_origin_id")
		d := Document{Record: rec, ItemType: "standard_cost_code", Detail: r.ref(o, "request_detail_id"), Deleted: deleted(o)}
		if r.ref(o, "parent_id") != above(o) {
			rec.ParentOriginId = ""
		}
		d.refer(&rec.ParentOriginId, above(o), "", "standard_cost_code")
		out = append(out, r.apart(d))
	}
	return out, nil
}

// codeOf is a cost code with its parents' codes before it: "1-010". The last part alone,
// which Procore calls code, names several codes of a job.
func codeOf(o Object) string {
	return cmp.Or(o.Text("full_code"), o.Text("sortable_code"), o.Text("code"))
}

// alive is parent, but 0 where that one is deleted: what is under a deleted code is under none.
func alive(codes []Object, parent func(Object) int64) func(Object) int64 {
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

// parentsFirst orders cost codes so that a parent comes before its children; the order is
// otherwise as it was. Codes whose parents go round in a circle come last.
func parentsFirst(codes []Object, parent func(Object) int64) []Object {
	waiting := map[int64]bool{}
	for _, o := range codes {
		waiting[o.ID("id")] = true
	}
	delete(waiting, 0) // no id, and no parent
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
