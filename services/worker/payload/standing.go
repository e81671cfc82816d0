package payload

import "strings"

// void are the statuses of a document that does not count, or not any more. Procore's lists of statuses are not
// published in full; what is not here is booked.
var void = map[string]bool{
	"void": true, "voided": true, "canceled": true, "cancelled": true, "rejected": true, "declined": true,
	"failed": true, "returned": true, "reversed": true, "refunded": true, "stopped": true,
}

// standing notes whether a document is deleted in Procore, and whether it is void.
func (d *Document) standing(o Object) {
	d.Deleted = deleted(o)
	d.Void = void[strings.ToLower(o.Text("status"))]
}

// deleted reports whether an object of Procore's is deleted.
func deleted(o Object) bool { return o.Text("deleted_at") != "" }

// live reads an array of objects, without those that are deleted in Procore.
func (r *reader) live(o Object, name string) []Object {
	var out []Object
	for _, x := range r.list(o, name) {
		if !deleted(x) {
			out = append(out, x)
		}
	}
	return out
}

// apart ends one of several documents: what is wrong with it is kept with it, and its neighbours are read on.
func (r *reader) apart(d Document) Document {
	d = r.finish(&d)
	if r.err != nil {
		d.Refusal, r.err = r.err, nil
	}
	return d
}
