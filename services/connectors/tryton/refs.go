package tryton

import (
	"cmp"
	"slices"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
)

// refsOf returns the references of r, except to lines of contracts, which Tryton checks itself.
func refsOf(r *record) []connector.Reference {
	return slices.DeleteFunc(connector.References(r), func(ref connector.Reference) bool { return ref.Entity == 0 })
}

// distinct removes duplicate references.
func distinct(refs []connector.Reference) []connector.Reference {
	var out []connector.Reference
	for _, r := range refs {
		if !slices.ContainsFunc(out, func(o connector.Reference) bool { return o.Entity == r.Entity && o.OriginID == r.OriginID }) {
			out = append(out, r)
		}
	}
	return out
}

// found has the mappings of a record's references.
type found map[[2]string]*mapping

func (f found) of(e entity, origin string) *mapping { return f[[2]string{name(e), origin}] }

// check refuses a record with an unknown or deleted reference.
func (f found) check(r *record) error {
	for _, ref := range refsOf(r) {
		label := connector.Noun(ref.Entity)
		switch at := f.of(ref.Entity, ref.OriginID); {
		case at == nil:
			return fault.Refused(ref.Field, "The %s%s of the %s is unknown in Tryton (it has no %s with the id %q). Export the %s first, then export this again.",
				label, ref.Where(), called(r), label, ref.OriginID, label)
		case !at.Live:
			return fault.Refused(ref.Field, "The %s%s of the %s, %q, was deleted in Tryton. Choose another %s or export it again, then export this again.",
				label, ref.Where(), called(r), ref.OriginID, label)
		}
	}
	return nil
}

// inherit fills in what r lacks from its requisition, contract and cost code, in this order: a requisition
// also has a contract.
func (f found) inherit(r *record) {
	if connector.ParentOf(r.Entity) == requisition {
		fill(r, f.of(requisition, r.ParentOriginId))
	}
	if e := connector.ContractOf(r.Entity); e != 0 {
		fill(r, f.of(e, r.ContractOriginId))
	}
	fill(r, f.of(costCode, r.CostCodeOriginId))
}

func fill(r *record, from *mapping) {
	if from == nil {
		return
	}
	if r.JobOriginId == "" {
		r.JobOriginId = from.Job
		r.SubJobOriginId = cmp.Or(r.SubJobOriginId, from.SubJob)
	}
	r.VendorOriginId = cmp.Or(r.VendorOriginId, from.Vendor)
	if was, err := from.booked(); err == nil && was != nil && from.Entity != name(costCode) {
		r.Currency = cmp.Or(r.Currency, was.Currency)
	}
	if from.Entity == name(requisition) {
		r.ContractOriginId = cmp.Or(r.ContractOriginId, from.Contract)
	}
}

// ids returns the ids of the mappings. The module checks at the end of a booking that they still exist.
func (f found) ids() []int64 {
	out := []int64{}
	for _, at := range f {
		if at != nil && at.Live {
			out = append(out, at.ID)
		}
	}
	slices.Sort(out)
	return out
}
