package resets

import (
	"context"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// inside lists the entities that are reset with their job or sub job.
var inside = []struct {
	entity   tiebackv1.Entity
	itemType string
}{
	{tiebackv1.Entity_ENTITY_SUB_JOB, "sub_job"},
	{tiebackv1.Entity_ENTITY_COST_CODE, "cost_code"},
	{tiebackv1.Entity_ENTITY_BUDGET, "budget"},
}

// job resets a job or sub job with the records in it. The payload names only the job, so job asks the ERP
// for the records in it, and takes Procore's ids from the links. If the ERP removes the job, a later export of
// it starts new generations for these records; see package exports.
func job(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	return each(t, func(link payload.Link) (*tiebackv1.CloseOut, error) {
		records, err := contents(ctx, t, link.Record)
		if err != nil {
			return nil, err
		}
		if !t.Company.RemoveOnReset {
			return forget(ctx, t, link, records)
		}
		if err := remove(ctx, t, link); err != nil {
			return nil, err
		}
		c := done(link)
		err = unsync(ctx, t, link, c)
		unsyncAll(records, c)
		return c, err
	})
}

// linked is a record of the ERP that is linked to a record of Procore.
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

// contents lists the linked records in a job. It includes tombstones, because after a crash between
// removing and reporting, nothing else is left of a record.
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

// listed returns the linked records in a list of the ERP. It returns no records if the ERP can't list the entity.
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

// within guards against an ERP that lists more than it was asked for, so that a record of another job stays synced. A
// tombstone may lack its job.
func within(req *tiebackv1.ListRequest, c *tiebackv1.Change) bool {
	same := func(want, got string) bool { return want == "" || got == want || got == "" && c.Deleted }
	return same(req.JobOriginId, c.Record.JobOriginId) && same(req.SubJobOriginId, c.Record.SubJobOriginId)
}
