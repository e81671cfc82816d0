package sandbox

import "fmt"

// want is what must be true of a record at the moment its detail turns success.
type want int

const (
	wantSynced   want = iota // it has its external data
	wantUnsynced             // it is unlinked, or gone
	wantAssigned             // the assignment is marked as synced
	wantDeleted              // the assignment is gone
)

// expectation is one want; for an assignment id is the cost code's, other the line item type's
// or, to be deleted, id is the assignment's own.
type expectation struct {
	want  want
	kind  string
	id    int64
	other int64
}

// unmet says, under the company's lock, which expectations a success comes too early for.
func (d *detail) unmet() []string {
	var out []string
	for _, e := range d.expects {
		if why := e.unmet(d.req.co); why != "" {
			out = append(out, fmt.Sprintf("request detail %d turned success, but %s", d.id, why))
		}
	}
	return out
}

func (e expectation) unmet(co *company) string {
	switch e.want {
	case wantSynced:
		if r := co.find(e.kind, e.id); r == nil || r.origin == "" {
			return fmt.Sprintf("%s %d has no origin id", e.kind, e.id)
		}
	case wantUnsynced:
		if r := co.find(e.kind, e.id); r != nil && r.origin != "" {
			return fmt.Sprintf("%s %d is still synced, with %q", e.kind, e.id, r.origin)
		}
	case wantAssigned:
		if a := co.assignments[assignmentKey{e.id, e.other}]; a == nil || !a.synced {
			return fmt.Sprintf("line item type %d on cost code %d is not marked as synced", e.other, e.id)
		}
	case wantDeleted:
		if _, known := co.assigned[e.id]; known {
			return fmt.Sprintf("assignment %d is not deleted", e.id)
		}
	}
	return ""
}
