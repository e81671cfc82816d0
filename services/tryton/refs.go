package tryton

import (
	"fmt"
	"slices"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
)

// ref is one thing that a record names by origin id.
type ref struct {
	entity entity
	origin string
	field  string // as the accountant knows it
	where  string // " on line 2"
}

// contracts says what contract_origin_id means, by entity.
var contracts = map[entity]entity{
	commitmentChangeOrder: commitment, requisition: commitment, payment: commitment,
	primeContractChangeOrder: primeContract, paymentApplication: primeContract,
}

// parents says what parent_origin_id means, by entity.
var parents = map[entity]entity{costCode: costCode, payment: requisition}

// refsOf lists what r refers to. Lines of a contract are looked at by lines.go.
func refsOf(r *record) []ref {
	var out []ref
	add := func(e entity, origin, field, where string) {
		if origin != "" {
			out = append(out, ref{e, origin, field, where})
		}
	}
	add(job, r.GetJobOriginId(), "job", "")
	add(subJob, r.GetSubJobOriginId(), "sub_job", "")
	add(vendor, r.GetVendorOriginId(), "vendor", "")
	if e, ok := contracts[r.GetEntity()]; ok {
		add(e, r.GetContractOriginId(), "contract", "")
	}
	if e, ok := parents[r.GetEntity()]; ok {
		add(e, r.GetParentOriginId(), name(e), "")
	}
	add(standardCostCode, r.GetStandardOriginId(), "standard_cost_code", "")
	add(costCode, r.GetCostCodeOriginId(), "cost_code", "")
	add(standardCategory, r.GetCategoryOriginId(), "category", "")
	for i, l := range r.GetLines() {
		where := fmt.Sprintf(" on line %d", i+1)
		add(job, l.GetJobOriginId(), "job", where)
		add(subJob, l.GetSubJobOriginId(), "sub_job", where)
		add(costCode, l.GetCostCodeOriginId(), "cost_code", where)
		add(standardCategory, l.GetCategoryOriginId(), "category", where)
	}
	return out
}

// distinct leaves out what is named again.
func distinct(refs []ref) []ref {
	var out []ref
	for _, r := range refs {
		if !slices.ContainsFunc(out, func(o ref) bool { return o.entity == r.entity && o.origin == r.origin }) {
			out = append(out, r)
		}
	}
	return out
}

// found are the faces of what a record refers to.
type found map[[2]string]*face

func (f found) of(e entity, origin string) *face { return f[[2]string{name(e), origin}] }

// check refuses a record that refers to what is unknown or deleted.
func (f found) check(r *record) error {
	for _, ref := range refsOf(r) {
		label := connector.Noun(ref.entity)
		switch at := f.of(ref.entity, ref.origin); {
		case at == nil:
			return fault.Refused(ref.field, "The %s%s of the %s is unknown in Tryton (it has no %s with the id %q). Export the %s first, then export this again.",
				label, ref.where, called(r), label, ref.origin, label)
		case !at.Live:
			return fault.Refused(ref.field, "The %s%s of the %s, %q, was deleted in Tryton. Choose another %s or export it anew, then export this again.",
				label, ref.where, called(r), ref.origin, label)
		}
	}
	return nil
}

// inherit fills what r leaves out and its requisition, contract or cost code says, in that
// order: a requisition brings its contract along.
func (f found) inherit(r *record) {
	if parents[r.Entity] == requisition {
		fill(r, f.of(requisition, r.ParentOriginId))
	}
	if e, ok := contracts[r.Entity]; ok {
		fill(r, f.of(e, r.ContractOriginId))
	}
	fill(r, f.of(costCode, r.CostCodeOriginId))
}

func fill(r *record, from *face) {
	if from == nil {
		return
	}
	if r.JobOriginId == "" {
		r.JobOriginId = from.Job
		r.SubJobOriginId = or(r.SubJobOriginId, from.SubJob)
	}
	r.VendorOriginId = or(r.VendorOriginId, from.Vendor)
	if from.Entity == name(requisition) {
		r.ContractOriginId = or(r.ContractOriginId, from.Contract)
	}
}

// ids of the faces: a booking looks at its end whether they are still there.
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

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
