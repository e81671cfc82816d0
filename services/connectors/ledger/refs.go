package ledger

import (
	"cmp"
	"strings"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
)

type target struct {
	entity Entity
	origin string
}

// resolve refuses r if a reference is unknown or deleted. It fills in what follows from the references: the job and
// vendor of a requisition are those of its contract.
func (t *tx) resolve(r *Record) error {
	if err := t.inherit(r); err != nil {
		return err
	}
	seen := map[target]bool{}
	for _, ref := range connector.References(r) {
		at := target{ref.Entity, ref.OriginID}
		if seen[at] {
			continue
		}
		seen[at] = true
		if err := t.exists(r, ref); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) exists(r *Record, f connector.Reference) error {
	query, args := "SELECT deleted FROM records WHERE entity = ? AND origin_id = ?", []any{int(f.Entity), f.OriginID}
	if f.Entity == line {
		query = "SELECT r.deleted FROM lines l JOIN records r ON r.id = l.record_id WHERE l.origin_id = ?"
		args = args[1:]
	}
	var deleted bool
	found, err := t.get([]any{&deleted}, query, args...)
	label := strings.ReplaceAll(f.Field, "_", " ")
	switch {
	case err != nil:
		return err
	case !found:
		return fault.Refused(f.Field, "The %s%s of the %s is unknown in the ledger (it has no %s with the id %q). Export the %s first, then export this again.",
			label, f.Where(), call(r), label, f.OriginID, label)
	case deleted:
		return fault.Refused(f.Field, "The %s%s of the %s, %q, was deleted in the ledger. Choose another %s or export it again, then export this again.",
			label, f.Where(), call(r), f.OriginID, label)
	}
	return nil
}

// inherit fills in what r lacks from its requisition, contract and cost code, in this order: a requisition also has a
// contract.
func (t *tx) inherit(r *Record) error {
	for _, e := range []Entity{Requisition, connector.ContractOf(r.GetEntity()), CostCode} {
		origin := ""
		switch {
		case e == CostCode:
			origin = r.GetCostCodeOriginId()
		case e == Requisition && connector.ParentOf(r.GetEntity()) == e:
			origin = r.GetParentOriginId()
		case e == Commitment || e == PrimeContract:
			origin = r.GetContractOriginId()
		}
		if origin == "" {
			continue
		}
		src, err := t.find(e, origin)
		if err != nil {
			return err
		}
		if src != nil {
			if err := t.sameCurrency(r, src.rec); err != nil {
				return err
			}
			fill(r, src.rec)
		}
	}
	return nil
}

func fill(r, from *Record) {
	if r.JobOriginId == "" {
		r.JobOriginId, r.SubJobOriginId = from.GetJobOriginId(), cmp.Or(r.SubJobOriginId, from.GetSubJobOriginId())
	}
	r.VendorOriginId = cmp.Or(r.VendorOriginId, from.GetVendorOriginId())
	if from.GetEntity() == Requisition {
		r.ContractOriginId = cmp.Or(r.ContractOriginId, from.GetContractOriginId())
	}
}

// depend replaces the stored references of a record.
func (t *tx) depend(id int64, r *Record) error {
	if err := t.exec("DELETE FROM refs WHERE record_id = ?", id); err != nil {
		return err
	}
	seen := map[target]bool{}
	for _, f := range connector.References(r) {
		at := target{f.Entity, f.OriginID}
		if f.Entity == StandardCostCode || seen[at] { // it may be removed while others refer to it
			continue
		}
		seen[at] = true
		if err := t.exec("INSERT OR IGNORE INTO refs VALUES (?, ?, ?)", int(f.Entity), f.OriginID, id); err != nil {
			return err
		}
	}
	return nil
}

// dependents returns the live records that refer to a record, documents first.
func (t *tx) dependents(e Entity, origin string) ([]*row, error) {
	return t.rows("SELECT "+rowColumns+" FROM refs f JOIN records r ON r.id = f.record_id"+
		" WHERE f.Entity = ? AND f.origin_id = ? AND r.deleted = 0 ORDER BY r.entity DESC, r.id", int(e), origin)
}
