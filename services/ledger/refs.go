package ledger

import (
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
)

// ref is one thing that a record names by origin id. A weak one is checked, but does not
// keep what it names from being removed.
type ref struct {
	entity Entity
	origin string
	field  string // as the accountant knows it
	where  string // " on line 2"
	weak   bool
}

// contracts says what contract_origin_id means, by entity.
var contracts = map[Entity]Entity{
	CommitmentChangeOrder: Commitment, Requisition: Commitment, Payment: Commitment,
	PrimeContractChangeOrder: PrimeContract, PaymentApplication: PrimeContract,
}

// parents says what parent_origin_id means, by entity.
var parents = map[Entity]Entity{CostCode: CostCode, Payment: Requisition}

// refsOf lists what r refers to.
func refsOf(r *Record) []ref {
	var out []ref
	add := func(e Entity, origin, field, where string) {
		if origin != "" {
			out = append(out, ref{e, origin, field, where, e == StandardCostCode})
		}
	}
	add(Job, r.GetJobOriginId(), "job", "")
	add(SubJob, r.GetSubJobOriginId(), "sub_job", "")
	add(Vendor, r.GetVendorOriginId(), "vendor", "")
	if e, ok := contracts[r.GetEntity()]; ok {
		add(e, r.GetContractOriginId(), "contract", "")
	}
	if e, ok := parents[r.GetEntity()]; ok {
		add(e, r.GetParentOriginId(), EntityName(e), "")
	}
	add(StandardCostCode, r.GetStandardOriginId(), "standard_cost_code", "")
	add(CostCode, r.GetCostCodeOriginId(), "cost_code", "")
	add(StandardCategory, r.GetCategoryOriginId(), "category", "")
	for i, l := range r.GetLines() {
		where := fmt.Sprintf(" on line %d", i+1)
		add(Job, l.GetJobOriginId(), "job", where)
		add(SubJob, l.GetSubJobOriginId(), "sub_job", where)
		add(CostCode, l.GetCostCodeOriginId(), "cost_code", where)
		add(StandardCategory, l.GetCategoryOriginId(), "category", where)
		add(line, l.GetContractLineOriginId(), "contract_line", where)
	}
	return out
}

type target struct {
	entity Entity
	origin string
}

// resolve finds all that r refers to and refuses r if something is unknown or deleted.
// What follows from them is filled in: a requisition's job and vendor are its contract's.
func (t *tx) resolve(r *Record) error {
	if err := t.inherit(r); err != nil {
		return err
	}
	seen := map[target]bool{}
	for _, ref := range refsOf(r) {
		at := target{ref.entity, ref.origin}
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

func (t *tx) exists(r *Record, f ref) error {
	query, args := "SELECT deleted FROM records WHERE entity = ? AND origin_id = ?", []any{int(f.entity), f.origin}
	if f.entity == line {
		query = "SELECT r.deleted FROM lines l JOIN records r ON r.id = l.record_id WHERE l.origin_id = ?"
		args = args[1:]
	}
	var deleted bool
	found, err := t.get([]any{&deleted}, query, args...)
	label := strings.ReplaceAll(f.field, "_", " ")
	switch {
	case err != nil:
		return err
	case !found:
		return fault.Refused(f.field, "The %s%s of the %s is unknown in the ledger (it has no %s with the id %q). Export the %s first, then export this again.",
			label, f.where, call(r), label, f.origin, label)
	case deleted:
		return fault.Refused(f.field, "The %s%s of the %s, %q, was deleted in the ledger. Choose another %s or export it anew, then export this again.",
			label, f.where, call(r), f.origin, label)
	}
	return nil
}

// inherit fills what the record leaves out and its requisition, contract or cost code says,
// in that order: a requisition brings its contract along.
func (t *tx) inherit(r *Record) error {
	for _, e := range []Entity{Requisition, contracts[r.GetEntity()], CostCode} {
		origin := ""
		switch {
		case e == CostCode:
			origin = r.GetCostCodeOriginId()
		case e == Requisition && parents[r.GetEntity()] == e:
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
			fill(r, src.rec)
		}
	}
	return nil
}

func fill(r, from *Record) {
	if r.JobOriginId == "" {
		r.JobOriginId, r.SubJobOriginId = from.GetJobOriginId(), or(r.SubJobOriginId, from.GetSubJobOriginId())
	}
	r.VendorOriginId = or(r.VendorOriginId, from.GetVendorOriginId())
	if from.GetEntity() == Requisition {
		r.ContractOriginId = or(r.ContractOriginId, from.GetContractOriginId())
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// depend records what a booked record refers to, instead of what it did before.
func (t *tx) depend(id int64, r *Record) error {
	if err := t.exec("DELETE FROM refs WHERE record_id = ?", id); err != nil {
		return err
	}
	seen := map[target]bool{}
	for _, f := range refsOf(r) {
		at := target{f.entity, f.origin}
		if f.weak || seen[at] {
			continue
		}
		seen[at] = true
		if err := t.exec("INSERT OR IGNORE INTO refs VALUES (?, ?, ?)", int(f.entity), f.origin, id); err != nil {
			return err
		}
	}
	return nil
}

// dependents are the live records that refer to one, documents first.
func (t *tx) dependents(e Entity, origin string) ([]*row, error) {
	return t.rows("SELECT "+rowColumns+" FROM refs f JOIN records r ON r.id = f.record_id"+
		" WHERE f.entity = ? AND f.origin_id = ? AND r.deleted = 0 ORDER BY r.entity DESC, r.id", int(e), origin)
}
