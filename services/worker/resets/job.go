package resets

import (
	"context"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/payload"
)

// inside are the records that leave the ERP with their job or sub job.
var inside = []struct {
	entity   tiebackv1.Entity
	itemType string
}{
	{tiebackv1.Entity_ENTITY_SUB_JOB, "sub_job"},
	{tiebackv1.Entity_ENTITY_COST_CODE, "cost_code"},
	{tiebackv1.Entity_ENTITY_BUDGET, "budget"},
}

// job resets a job or sub job with all that was in it. The payload names only the job: what
// was in it the ERP is asked, and Procore's ids are those we linked. An export of the job
// begins new lives for them; see exports.
func job(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	return each(t, func(tie payload.Tie) (*tiebackv1.CloseOut, error) {
		marks, err := contents(ctx, t, tie.Record)
		if err != nil {
			return nil, err
		}
		if err := undo(ctx, t, tie); err != nil {
			return nil, err
		}
		c := done(tie)
		err = unsync(ctx, t, tie, c)
		c.Marks = append(c.Marks, marks...)
		return c, err
	})
}

// contents lists the unsync marks of what is in a job. Tombstones count: after a crash
// between removing and telling, there is nothing else left of it.
func contents(ctx context.Context, t *worker.Task, rec *tiebackv1.Record) ([]*tiebackv1.Mark, error) {
	if rec.OriginId == "" {
		return nil, nil
	}
	var marks []*tiebackv1.Mark
	for _, kind := range inside {
		req := &tiebackv1.ListRequest{Entity: kind.entity, JobOriginId: rec.OriginId}
		if rec.Entity == tiebackv1.Entity_ENTITY_SUB_JOB {
			if kind.entity != tiebackv1.Entity_ENTITY_COST_CODE {
				continue // a sub job has neither sub jobs nor a budget of its own
			}
			req.JobOriginId, req.SubJobOriginId = "", rec.OriginId
		}
		found, err := linked(ctx, t, req, kind.itemType)
		if err != nil {
			return nil, err
		}
		marks = append(marks, found...)
	}
	return marks, nil
}

// linked unsyncs what a list of the ERP's names and we have linked. An ERP that cannot list
// an entity is not asked for more.
func linked(ctx context.Context, t *worker.Task, req *tiebackv1.ListRequest, itemType string) ([]*tiebackv1.Mark, error) {
	ids, err := t.State.Links(ctx, t.Event.CompanyId, itemType)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	var marks []*tiebackv1.Mark
	for page, err := range t.ERP.Changes(ctx, req) {
		if fault.ClassOf(err) == fault.Permanent && err != nil {
			return marks, nil
		}
		if err != nil {
			return nil, err
		}
		for _, c := range page.Changes {
			if id, ok := ids[c.GetRecord().GetOriginId()]; ok && within(req, c) {
				marks = append(marks, &tiebackv1.Mark{ItemType: itemType, ItemId: id})
			}
		}
	}
	return marks, nil
}

// within guards against an ERP that lists more than it was asked for: what is plainly in
// another job stays synced. A tombstone may not say where it was.
func within(req *tiebackv1.ListRequest, c *tiebackv1.Change) bool {
	same := func(asked, got string) bool { return asked == "" || got == asked || got == "" && c.Deleted }
	return same(req.JobOriginId, c.Record.JobOriginId) && same(req.SubJobOriginId, c.Record.SubJobOriginId)
}
