package ledger

import (
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
)

// remove marks a record as deleted and reverses its entries. Master data that belongs to it is removed with it; documents
// that depend on it prevent the removal.
//
//	removed                  removed with it                           prevented by
//	vendor                   its insurances                            commitments, direct costs, ...
//	job, sub job             sub jobs, cost codes, job costs, budget   every document of it
//	cost code                cost codes under it, assignments          lines of documents and budgets
//	standard category        its assignments and job costs             lines of documents and budgets
//	commitment               -                                         change orders, requisitions, payments
//	requisition              -                                         payments
//	prime contract           -                                         change orders, payment applications
func (t *tx) remove(r *row, memo string) error {
	if r.deleted {
		return nil
	}
	on, err := t.blockers(r.rec)
	if err != nil {
		return err
	}
	if len(on) > 0 {
		return fault.Refused("", "The %s can't be deleted: %s. Delete that first.", call(r.rec), dependsOn(on))
	}
	if err := t.removeOwned(r.rec, memo); err != nil {
		return err
	}
	if err := t.reverse(r, memo); err != nil {
		return err
	}
	if r, err = t.find(r.rec.Entity, r.rec.OriginId); err != nil { // a reversal may have changed a job cost
		return err
	}
	r.deleted = true
	return t.save(r)
}

// blockers returns the live records that prevent a removal.
func (t *tx) blockers(r *Record) ([]*row, error) {
	if natural(r.GetEntity()) {
		return t.booksOn(r)
	}
	all, err := t.dependents(r.GetEntity(), r.GetOriginId())
	if err != nil {
		return nil, err
	}
	var out []*row
	for _, d := range all {
		if !owned(d.rec, r) {
			out = append(out, d)
		}
	}
	lines, err := t.lineUsers(r)
	return append(out, lines...), err
}

// lineUsers returns the documents that refer to lines of r, such as requisitions that bill a line of a change order.
func (t *tx) lineUsers(r *Record) ([]*row, error) {
	var out []*row
	seen := map[int64]bool{}
	for _, l := range r.GetLines() {
		on, err := t.dependents(line, l.GetOriginId())
		if err != nil {
			return nil, err
		}
		for _, d := range on {
			if !seen[d.id] && (d.rec.Entity != r.GetEntity() || d.rec.OriginId != r.GetOriginId()) && d.rec.ContractOriginId != r.GetOriginId() {
				out = append(out, d)
			}
			seen[d.id] = true
		}
	}
	return out, nil
}

// owned reports whether a dependent is removed with its owner. A budget belongs to its own job or sub job, and not to
// those of its lines.
func owned(d, owner *Record) bool {
	switch {
	case d.GetEntity() != Budget:
		return !document(d.GetEntity())
	case owner.GetEntity() == Job:
		return d.GetJobOriginId() == owner.GetOriginId()
	}
	return owner.GetEntity() == SubJob && d.GetSubJobOriginId() == owner.GetOriginId()
}

// booksOn returns the documents with a line on the cost code and category of an assignment.
func (t *tx) booksOn(r *Record) ([]*row, error) {
	if r.GetEntity() == JobCost {
		return nil, nil
	}
	return t.rows("SELECT DISTINCT "+rowColumns+" FROM lines l JOIN records r ON r.id = l.record_id"+
		" WHERE l.cost_code = ? AND l.cost_code <> '' AND l.category = ? AND r.deleted = 0 ORDER BY r.entity DESC, r.id",
		r.GetCostCodeOriginId(), r.GetCategoryOriginId())
}

// removeOwned removes the records that belong to a record, the budget first and the sub jobs last.
func (t *tx) removeOwned(r *Record, memo string) error {
	if r.GetEntity() == CostTypeAssignment {
		return t.removeFound(JobCost, r.GetOriginId(), memo)
	}
	along, err := t.dependents(r.GetEntity(), r.GetOriginId())
	if err != nil {
		return err
	}
	for _, d := range along {
		if err := t.removeFound(d.rec.Entity, d.rec.OriginId, memo); err != nil {
			return err
		}
	}
	return nil
}

// removeFound reads a record again and removes it. An unknown record is not an error.
func (t *tx) removeFound(e Entity, origin, memo string) error {
	r, err := t.find(e, origin)
	if err != nil || r == nil {
		return err
	}
	return t.remove(r, memo)
}

// dependsOn lists the records that prevent a removal: commitment "PO-7" and 2 more depend on it.
func dependsOn(on []*row) string {
	names := make([]string, 0, 3)
	for _, r := range on[:min(3, len(on))] {
		names = append(names, call(r.rec))
	}
	s := strings.Join(names, ", ")
	if more := len(on) - len(names); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	if len(on) == 1 {
		return s + " depends on it"
	}
	return s + " depend on it"
}
