package resets

import (
	"context"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/payload"
)

// inside are the records that are reset with their job or sub job.
var inside = []struct {
	entity   tiebackv1.Entity
	itemType string
}{
	{tiebackv1.Entity_ENTITY_SUB_JOB, "sub_job"},
	{tiebackv1.Entity_ENTITY_COST_CODE, "cost_code"},
	{tiebackv1.Entity_ENTITY_BUDGET, "budget"},
}

// job resets a job or sub job with all that was in it. The payload names only the job: what
// was in it the ERP is asked, and Procore's ids are those we linked. Where the ERP loses the job, an
// export of it begins new lives for them; see exports.
func job(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	return each(t, func(link payload.Link) (*tiebackv1.CloseOut, error) {
		held, err := contents(ctx, t, link.Record)
		if err != nil {
			return nil, err
		}
		if !t.Company.RemoveOnReset {
			return forget(ctx, t, link, held)
		}
		if err := undo(ctx, t, link); err != nil {
			return nil, err
		}
		c := done(link)
		err = unsync(ctx, t, link, c)
		unsyncAll(held, c)
		return c, err
	})
}

// linked is a record that Procore has as the one of the ERP.
type linked struct {
	payload.Item
	origin  string
	deleted bool // the ERP has removed it
}

// unsyncAll marks records as not synced.
func unsyncAll(records []linked, c *tiebackv1.CloseOut) {
	for _, r := range records {
		c.Marks = append(c.Marks, &tiebackv1.Mark{ItemType: r.Type, ItemId: r.ID})
	}
}

// contents lists what is in a job, as far as it is linked. Tombstones count: after a crash
// between removing and telling, there is nothing else left of it.
func contents(ctx context.Context, t *worker.Task, rec *tiebackv1.Record) ([]linked, error) {
	if rec.OriginId == "" {
		return nil, nil
	}
	var all []linked
	for _, kind := range inside {
		req := &tiebackv1.ListRequest{Entity: kind.entity, JobOriginId: rec.OriginId}
		if rec.Entity == tiebackv1.Entity_ENTITY_SUB_JOB {
			if kind.entity != tiebackv1.Entity_ENTITY_COST_CODE {
				continue // a sub job has neither sub jobs nor a budget of its own
			}
			req.JobOriginId, req.SubJobOriginId = "", rec.OriginId
		}
		found, err := listed(ctx, t, req, kind.itemType)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// listed finds what a list of the ERP's names and we have linked. An ERP that cannot list
// an entity is not asked for more.
func listed(ctx context.Context, t *worker.Task, req *tiebackv1.ListRequest, itemType string) ([]linked, error) {
	ids, err := t.State.Links(ctx, t.Event.CompanyId, itemType)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	var found []linked
	for page, err := range t.ERP.Changes(ctx, req) {
		if fault.ClassOf(err) == fault.Permanent && err != nil {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		for _, c := range page.Changes {
			origin := c.GetRecord().GetOriginId()
			if id, ok := ids[origin]; ok && within(req, c) {
				found = append(found, linked{payload.Item{Type: itemType, ID: id}, origin, c.Deleted})
			}
		}
	}
	return found, nil
}

// within guards against an ERP that lists more than it was asked for: what is plainly in
// another job stays synced. A tombstone may not say where it was.
func within(req *tiebackv1.ListRequest, c *tiebackv1.Change) bool {
	same := func(asked, got string) bool { return asked == "" || got == asked || got == "" && c.Deleted }
	return same(req.JobOriginId, c.Record.JobOriginId) && same(req.SubJobOriginId, c.Record.SubJobOriginId)
}
