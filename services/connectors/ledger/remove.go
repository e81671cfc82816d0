package ledger

import (
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
)

// remove takes a record out of the books: a tombstone, and a reversal of its entries.
// Master data that belongs to it goes along; documents that depend on it forbid it.
//
//	removed                  goes along                                forbids it
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
	if r, err = t.find(r.rec.Entity, r.rec.OriginId); err != nil { // a reversal may have moved a job cost
		return err
	}
	r.deleted = true
	return t.save(r)
}

// blockers are the live records that keep one in the books.
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

// lineUsers are documents on the lines of r, such as requisitions that bill a change order's line.
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

// owned says whether a dependent goes along with its owner. A budget belongs to the job or sub
// job it is of, and not to those that only its lines name.
func owned(d, owner *Record) bool {
	switch {
	case d.GetEntity() != Budget:
		return !document(d.GetEntity())
	case owner.GetEntity() == Job:
		return d.GetJobOriginId() == owner.GetOriginId()
	}
	return owner.GetEntity() == SubJob && d.GetSubJobOriginId() == owner.GetOriginId()
}

// booksOn are the documents with a line on the cost code and category of an assignment.
func (t *tx) booksOn(r *Record) ([]*row, error) {
	if r.GetEntity() == JobCost {
		return nil, nil
	}
	return t.rows("SELECT DISTINCT "+rowColumns+" FROM lines l JOIN records r ON r.id = l.record_id"+
		" WHERE l.cost_code = ? AND l.cost_code <> '' AND l.category = ? AND r.deleted = 0 ORDER BY r.entity DESC, r.id",
		r.GetCostCodeOriginId(), r.GetCategoryOriginId())
}

// removeOwned removes what belongs to a record, the budget first and the sub jobs last.
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

// removeFound removes a record as it is now; one the ledger never had is no error.
func (t *tx) removeFound(e Entity, origin, memo string) error {
	r, err := t.find(e, origin)
	if err != nil || r == nil {
		return err
	}
	return t.remove(r, memo)
}

// dependsOn tells what keeps a record in the books: commitment "PO-7" and 2 more depend on it.
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
