package conformance

import (
	"context"
	"fmt"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// filters lists the records of one job, sub job or vendor; another one has records too.
func filters(ctx context.Context, s *suite) error {
	var checks []error
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
		if !s.has(f.of, putsAndLists) || !s.has(f.owner, puts) {
			continue
		}
		err := catch(func() error { return s.filter(ctx, f.of, f.owner, f.set, f.ask) })
		checks = append(checks, describe(fmt.Sprintf("%s of one %s", connector.Plural(f.of), connector.Noun(f.owner)), err))
	}
	if len(checks) == 0 {
		return leaveOut("the connector declares nothing with put and list that belongs to a job, a sub job or a vendor")
	}
	return findings(checks)
}

func (s *suite) filter(ctx context.Context, e, owner Entity, set func(*Record, string), ask func(*tiebackv1.ListRequest, string)) error {
	var owners, of [2]string
	for i := range owners {
		oq, o := s.book(ctx, owner)
		q := s.newPut(ctx, e)
		if owner == subJob {
			q.Record.JobOriginId = oq.Record.JobOriginId
		}
		set(q.Record, o.OriginId)
		b := s.put(ctx, s.main, q)
		owners[i], of[i] = o.OriginId, b.OriginId
	}
	for i, id := range owners {
		q := &tiebackv1.ListRequest{Entity: e}
		ask(q, id)
		all, _ := s.changes(ctx, q)
		if len(all) != 1 || all[0].Record.OriginId != of[i] {
			return fmt.Errorf("%s has one record, %s, but its listing has %d", id, of[i], len(all))
		}
	}
	return nil
}
