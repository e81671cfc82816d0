package exports

import (
	"context"
	"slices"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// tree returns a handler that books a job or sub job, then its cost codes, parents first, then the cost types
// assigned to each, because later records name the origin ids of earlier ones. Nothing is booked below a
// refused record.
func tree(read func(payload.Request) (payload.Tree, error)) worker.Handler {
	return func(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
		top, err := read(t.Payload)
		if err != nil {
			return nil, err
		}
		p := &treeExport{Task: t, top: top, origins: map[int64]string{}}
		if err := p.root(ctx); err != nil {
			return nil, err
		}
		return payload.Settle(t.Payload, p.records), nil
	}
}

// treeExport is a job or sub job that is being exported with its cost codes.
type treeExport struct {
	*worker.Task
	top     payload.Tree
	origins map[int64]string // of the cost codes booked so far
	records []*tiebackv1.CloseOut
}

func (p *treeExport) root(ctx context.Context) error {
	if p.top.SubJobID != 0 {
		if err := inherit(ctx, p.Task, tiebackv1.Entity_ENTITY_JOB, p.top.ProjectID, p.top.Record); err != nil {
			return err
		}
	}
	c, b, err := book(ctx, p.Task, p.top.Document)
	if err != nil {
		return err
	}
	p.records = append(p.records, c)
	if b == nil {
		return nil
	}
	p.top.Record.OriginId = b.OriginId
	for _, code := range slices.Backward(p.top.CostCodes) { // children before their parent
		if code.Deleted {
			if err := p.withdraw(ctx, code); err != nil {
				return err
			}
		}
	}
	for _, code := range p.top.CostCodes {
		if code.Deleted {
			continue
		}
		if err := p.costCode(ctx, code); err != nil {
			return err
		}
	}
	return nil
}

// withdraw removes a deleted cost code from the ERP, which frees its code for the cost code that replaced it.
// It skips a cost code that the ERP never had.
func (p *treeExport) withdraw(ctx context.Context, code payload.CostCode) error {
	if err := p.place(ctx, code.Record); err != nil {
		return err
	}
	origin, err := inERP(ctx, p.Task, code.Document)
	if err != nil || origin == "" {
		return err
	}
	c, err := remove(ctx, p.Task, code.Document, origin)
	if err == nil {
		p.records = append(p.records, c)
	}
	return err
}

// place puts a cost code into the job or sub job that was just booked.
func (p *treeExport) place(ctx context.Context, rec *tiebackv1.Record) error {
	above := p.top.Record
	rec.JobOriginId, rec.SubJobOriginId = above.OriginId, ""
	if p.top.SubJobID != 0 {
		rec.JobOriginId, rec.SubJobOriginId = above.JobOriginId, above.OriginId
	}
	return inherit(ctx, p.Task, above.Entity, above.ProcoreId, rec)
}

// inherit starts the owner's generation for the record too, if the owner was ever unlinked or reset, because an
// ERP that no longer has a job has none of the job's records.
func inherit(ctx context.Context, t *worker.Task, owner tiebackv1.Entity, ownerID int64, r *tiebackv1.Record) error {
	generation, err := t.ERP.Generation(ctx, owner, ownerID)
	if err != nil || generation == "" {
		return err
	}
	return t.ERP.NextGeneration(ctx, generation, r.Entity, r.ProcoreId)
}

func (p *treeExport) costCode(ctx context.Context, code payload.CostCode) error {
	rec := code.Record
	if err := p.place(ctx, rec); err != nil {
		return err
	}
	if err := p.resolveParent(ctx, code); err != nil {
		return p.refuse(rec, err)
	}
	c, b, err := book(ctx, p.Task, code.Document)
	if err != nil {
		return err
	}
	p.records = append(p.records, c)
	if b == nil {
		return nil
	}
	rec.OriginId, p.origins[rec.ProcoreId] = b.OriginId, b.OriginId
	for _, t := range code.Types {
		if err := p.assign(ctx, c, code, t); err != nil {
			return err
		}
	}
	return nil
}

// resolveParent fills in the origin id of a cost code's parent, which was just booked or is known from before.
func (p *treeExport) resolveParent(ctx context.Context, code payload.CostCode) error {
	if code.ParentID == 0 {
		return nil
	}
	if origin, ok := p.origins[code.ParentID]; ok {
		code.Record.ParentOriginId = origin
		return nil
	}
	_, err := newReferences(p.Task).fill(ctx, payload.Ref{
		ItemTypes: []string{"cost_code"}, ItemID: code.ParentID, Field: &code.Record.ParentOriginId,
		Missing: "The parent cost code is not in your ERP system, so this one was not sent. Correct the parent first, then export again.",
	})
	return err
}

func (p *treeExport) refuse(r *tiebackv1.Record, err error) error {
	c, err := payload.Refused(r, 0, err)
	if err == nil {
		p.records = append(p.records, c)
	}
	return err
}

// assign books a cost type for a cost code. c is the close-out of the cost code.
func (p *treeExport) assign(ctx context.Context, c *tiebackv1.CloseOut, code payload.CostCode, t payload.CostType) error {
	rec := payload.Assignment(code.Record, t.OriginID, t.Name)
	if t.OriginID == "" {
		return p.refuse(rec, fault.Permanentf("The cost type %q of the %s is not in your ERP system. Sync the cost types first, then export again.", t.Name, connector.Describe(code.Record)))
	}
	if _, err := p.Book(ctx, rec); err != nil {
		return p.refuse(rec, err)
	}
	c.Assignments = append(c.Assignments, &tiebackv1.Assignment{
		ProjectId: p.top.ProjectID, SubJobId: p.top.SubJobID, CostCodeId: code.Record.ProcoreId, LineItemTypeId: t.ID,
	})
	return nil
}

// budget books a budget. If its job was reset, the budget is booked in a new generation.
func budget(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	docs, err := payload.Budget(t.Payload)
	if err != nil {
		return nil, err
	}
	if err := inherit(ctx, t, tiebackv1.Entity_ENTITY_JOB, docs[0].Project, docs[0].Record); err != nil {
		return nil, err
	}
	existing, err := existingBudget(ctx, t, docs[0])
	if err != nil {
		return nil, err
	}
	if existing != nil {
		docs[0].Record.Lines = nil
		return payload.Settle(t.Payload, []*tiebackv1.CloseOut{closeOutOf(docs[0], existing)}), nil
	}
	c, _, err := book(ctx, t, docs[0])
	if err != nil {
		return nil, err
	}
	return payload.Settle(t.Payload, []*tiebackv1.CloseOut{c}), nil
}

// existingBudget returns the booking of a budget that comes without an origin id and without transactions, if
// the ERP has that budget in its current generation, and nil otherwise. The lines of such a budget are the
// totals of its job costs, which the ERP already has as the transactions of earlier exports. There is nothing
// to book, because only Procore lacks the origin id.
func existingBudget(ctx context.Context, t *worker.Task, d payload.Document) (*tiebackv1.Booking, error) {
	changes := func(l *tiebackv1.Line) bool { return l.Kind == "erp_transaction" }
	if d.Deleted || d.Void || d.Refusal != nil || d.Record.OriginId != "" || slices.ContainsFunc(d.Record.Lines, changes) {
		return nil, nil
	}
	b, err := t.ERP.Booked(ctx, d.Record.Entity, d.Record.ProcoreId)
	if b != nil || err != nil {
		return b, err
	}
	origin, err := t.State.OriginID(ctx, t.Event.CompanyId, d.ItemType, d.Record.ProcoreId)
	if err != nil || origin == "" {
		return nil, err
	}
	state, err := t.ERP.State(ctx, d.Record.Entity, origin)
	if err != nil && fault.ClassOf(err) != fault.Permanent {
		return nil, err
	}
	if err == nil && state != tiebackv1.RecordState_RECORD_STATE_PRESENT { // an ERP that does not report states is assumed to have the budget
		return nil, nil
	}
	return &tiebackv1.Booking{OriginId: origin}, nil
}

// standardCostCodes books codes, parents first. The child of a code that was just booked gets its origin id.
func standardCostCodes(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	docs, err := payload.StandardCostCodes(t.Payload)
	if err != nil {
		return nil, err
	}
	origins := map[int64]string{}
	var records []*tiebackv1.CloseOut
	for _, d := range slices.Backward(docs) { // children before their parent
		if d.Deleted {
			c, err := withdraw(ctx, t, d)
			if err != nil {
				return nil, err
			}
			records = append(records, c)
		}
	}
	for _, d := range docs {
		if d.Deleted {
			continue
		}
		for _, ref := range d.Refs {
			*ref.Field = origins[ref.ItemID]
		}
		if d.Record.ParentOriginId != "" {
			d.Refs = nil
		}
		c, b, err := book(ctx, t, d)
		if err != nil {
			return nil, err
		}
		if b != nil {
			origins[d.Record.ProcoreId] = b.OriginId
		}
		records = append(records, c)
	}
	return payload.Settle(t.Payload, records), nil
}
