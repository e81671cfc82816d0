package payload

import "strings"

// void are the statuses of a document that is not valid, or not any more. Procore does not publish its
// statuses in full; a document with any other status is booked.
var void = map[string]bool{
	"void": true, "voided": true, "canceled": true, "cancelled": true, "rejected": true, "declined": true,
	"failed": true, "returned": true, "reversed": true, "refunded": true, "stopped": true,
}

// setStatus sets whether a document is deleted in Procore, and whether it is void.
func (d *Document) setStatus(o Object) {
	d.Deleted = deleted(o)
	d.Void = void[strings.ToLower(o.Text("status"))]
}

// deleted reports whether an object is deleted in Procore.
func deleted(o Object) bool { return o.Text("deleted_at") != "" }

// undeleted reads an array of objects, without those that are deleted in Procore.
func (r *reader) undeleted(o Object, name string) []Object {
	var out []Object
	for _, x := range r.list(o, name) {
		if !deleted(x) {
			out = append(out, x)
		}
	}
	return out
}

// isolate finishes one of several documents: an error in it becomes its refusal, and the other documents are
// still read.
func (r *reader) isolate(d Document) Document {
	d = r.finish(&d)
	if r.err != nil {
		d.Refusal, r.err = r.err, nil
	}
	return d
}
