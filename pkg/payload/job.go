package payload

import (
	"cmp"
	"hash/fnv"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Tree is a job or sub job with its cost codes, parents before children.
type Tree struct {
	Document
	ProjectID int64 // Procore's project id
	SubJobID  int64 // 0: the tree is that of a job
	CostCodes []CostCode
}

// CostCode is a cost code of a tree. The origin ids of its job, sub job and parent are known only after those
// are booked.
type CostCode struct {
	Document
	ParentID int64 // Procore's id; 0: none
	Types    []CostType
}

// CostType is a line item type assigned to a cost code.
type CostType struct {
	ID       int64
	OriginID string
	Name     string
}

// Job reads create_or_update_job.
func Job(q Request) (Tree, error) {
	r := q.reader("job")
	o := r.object(q.Data, "job")
	rec := r.record(tiebackv1.Entity_ENTITY_JOB, o)
	rec.Name, rec.Contact = o.Text("name"), contact(o)
	if active, given := o["active"].(bool); given {
		rec.Inactive = !active
	}
	t := Tree{Document: Document{Record: rec, ItemType: "project", Deleted: deleted(o)}, ProjectID: rec.ProcoreId}
	t.CostCodes = r.costCodes(q.Data, rec.OriginId != "")
	return t, r.err
}

// SubJob reads create_sub_job.
func SubJob(q Request) (Tree, error) {
	r := q.reader("sub job")
	o := r.object(q.Data, "sub_job")
	project := r.object(o, "project")
	rec := r.record(tiebackv1.Entity_ENTITY_SUB_JOB, o)
	rec.Code, rec.Name = cmp.Or(o.Text("origin_code"), o.Text("code")), o.Text("name")
	rec.JobOriginId = project.Text("origin_id")
	t := Tree{Document: Document{Record: rec, ItemType: "sub_job", Deleted: deleted(o)}, ProjectID: r.id(project, "id"), SubJobID: rec.ProcoreId}
	t.addRef(&rec.JobOriginId, t.ProjectID, "The job of this sub job is not in your ERP system. Export the job first, then export the sub job again.", "project")
	t.CostCodes = r.costCodes(q.Data, rec.OriginId != "")
	return t, r.err
}

// costCodes reads all_cost_codes. If the job is not in the ERP, its codes are not either: origin ids that
// they still carry are from before a reset.
func (r *reader) costCodes(data Object, booked bool) []CostCode {
	codes := r.list(data, "all_cost_codes")
	r = &reader{what: "cost code", zone: r.zone} // a malformed code does not affect its job
	parent := undeletedParent(codes, func(o Object) int64 { return o.Object("parent").ID("id") })
	var out []CostCode
	for _, o := range parentsFirst(codes, parent) {
		rec := r.record(tiebackv1.Entity_ENTITY_COST_CODE, o)
		rec.Code, rec.Name, rec.StandardOriginId = fullCode(o), o.Text("name"), o.Text("standard_cost_code_origin_id")
		if !booked {
			rec.OriginId = ""
		}
		r.ref(o.Object("parent"), "id")
		c := CostCode{Document: Document{Record: rec, ItemType: "cost_code", Deleted: deleted(o)}, ParentID: parent(o)}
		for _, t := range r.undeleted(o, "line_item_types") {
			c.Types = append(c.Types, CostType{ID: r.id(t, "id"), OriginID: t.Text("origin_id"), Name: cmp.Or(t.Text("name"), t.Text("code"))})
		}
		c.Document = r.isolate(c.Document)
		out = append(out, c)
	}
	return out
}

// Assignment returns the record of a cost type on a cost code. Procore sends no id of it when a job is
// exported, and no ids of its parts when it is deleted. The origin ids of its parts are known in both cases,
// so its key is made of them.
func Assignment(costCode *tiebackv1.Record, category, name string) *tiebackv1.Record {
	return &tiebackv1.Record{
		Entity: tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT, ProcoreId: AssignmentKey(costCode.OriginId, category),
		Name: costCode.Code + " " + name, CostCodeOriginId: costCode.OriginId, CategoryOriginId: category,
		JobOriginId: costCode.JobOriginId, SubJobOriginId: costCode.SubJobOriginId,
	}
}

// AssignmentKey returns the key of a cost type assignment, used in place of Procore's id: 63 bits of the
// FNV-1a hash of the origin ids of the cost code and the cost type. It is never 0.
func AssignmentKey(costCode, category string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(connector.AssignmentID(costCode, category))) // never returns an error
	return max(1, int64(h.Sum64()>>1))
}
