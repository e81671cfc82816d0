package conformance

import (
	"context"
	"fmt"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// filters lists the records of one job, sub job or vendor; another one has records too.
func filters(ctx context.Context, s *suite) error {
	tried := false
	for _, f := range []struct {
		of, owner Entity
		set       func(*Record, string)
		ask       func(*tiebackv1.ListRequest, string)
	}{
		{costCode, job, func(r *Record, id string) { r.JobOriginId = id }, func(q *tiebackv1.ListRequest, id string) { q.JobOriginId = id }},
		{subJob, job, func(r *Record, id string) { r.JobOriginId = id }, func(q *tiebackv1.ListRequest, id string) { q.JobOriginId = id }},
		{costCode, subJob, func(r *Record, id string) { r.SubJobOriginId = id }, func(q *tiebackv1.ListRequest, id string) { q.SubJobOriginId = id }},
		{insurance, vendor, func(r *Record, id string) { r.ParentOriginId, r.VendorOriginId = id, id }, func(q *tiebackv1.ListRequest, id string) { q.ParentOriginId = id }},
	} {
		if c, o := s.cans[f.of], s.cans[f.owner]; c == nil || !putsAndLists(c) || o == nil || !o.Put {
			continue
		}
		tried = true
		if err := s.filter(ctx, f.of, f.owner, f.set, f.ask); err != nil {
			return fmt.Errorf("%s of one %s: %w", connector.Plural(f.of), connector.Noun(f.owner), err)
		}
	}
	if !tried {
		return leaveOut("the connector declares nothing with put and list that belongs to a job, a sub job or a vendor")
	}
	return nil
}

func (s *suite) filter(ctx context.Context, e, owner Entity, set func(*Record, string), ask func(*tiebackv1.ListRequest, string)) error {
	var owners, of [2]string
	for i := range owners {
		oq, o, err := s.book(ctx, owner)
		if err != nil {
			return err
		}
		q, err := s.newPut(ctx, e)
		if err != nil {
			return err
		}
		if owner == subJob {
			q.Record.JobOriginId = oq.Record.JobOriginId
		}
		set(q.Record, o.OriginId)
		b, err := s.put(ctx, s.main, q)
		if err != nil {
			return err
		}
		owners[i], of[i] = o.OriginId, b.OriginId
	}
	for i, id := range owners {
		q := &tiebackv1.ListRequest{Entity: e}
		ask(q, id)
		all, _, err := s.changes(ctx, q)
		if err != nil {
			return err
		}
		if len(all) != 1 || all[0].Record.OriginId != of[i] {
			return fmt.Errorf("%s has one record, %s, but its listing has %d", id, of[i], len(all))
		}
	}
	return nil
}
