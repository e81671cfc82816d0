package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Procore distinguishes origin ids by item type only, and some entities share an item type.
var (
	sharedLines   = []Entity{commitment, changeOrder, primeContract, primeChangeOrder} // their lines are line_items
	sharedHeaders = []Entity{changeOrder, primeChangeOrder}                            // they are change_orders
)

func originsApart(ctx context.Context, s *suite) error {
	some := s.with(puts, sharedLines)
	if len(some) < 2 {
		return leaveOut("the connector takes no two of %s", oneOf(sharedLines))
	}
	heads, lines := owners{}, owners{}
	var errs []error
	for _, e := range some {
		for _, r := range s.bookAndList(ctx, e) {
			if slices.Contains(sharedHeaders, e) {
				errs = append(errs, heads.claim(e, r.OriginId))
			}
			for _, l := range r.Lines {
				errs = append(errs, lines.claim(e, l.OriginId))
			}
		}
	}
	return errors.Join(errs...)
}

// bookAndList books a record and returns it with all other records of its entity that the ERP lists.
func (s *suite) bookAndList(ctx context.Context, e Entity) []*Record {
	q, b := s.book(ctx, e)
	r := clone(q).Record
	r.OriginId = b.OriginId
	for i, l := range r.Lines {
		l.OriginId = b.LineOriginIds[i]
	}
	out := []*Record{r}
	if !s.cans[e].List {
		return out
	}
	all, _ := s.changes(ctx, &tiebackv1.ListRequest{Entity: e})
	for _, c := range all {
		if !c.Deleted && c.Record.OriginId != r.OriginId {
			out = append(out, c.Record)
		}
	}
	return out
}

// owners maps origin ids to their entities.
type owners map[string]Entity

func (o owners) claim(e Entity, origin string) error {
	if other, taken := o[origin]; taken && other != e {
		return fmt.Errorf("the origin id %q is a %s's and a %s's (or their lines'); Procore has one item type for both, and refuses the second",
			origin, connector.Noun(other), connector.Noun(e))
	}
	o[origin] = e
	return nil
}

func lateReset(ctx context.Context, s *suite) error {
	e := s.pick("update, state and remove", func(c *can) bool { return updates(c) && c.State && c.Remove })
	q, b := s.book(ctx, e)
	older, newer := s.request(), s.request()
	change := s.changeOf(q, b, newer, func(r *Record) { r.Name = q.Record.Name + " newer" })
	s.put(ctx, s.main, change)
	return errors.Join(
		describe("a reset by an older request", refused(s.removeBy(ctx, e, b.OriginId, older), "request")),
		s.checkState(ctx, e, b.OriginId, present),
		describe("a reset by a newer one", s.removeBy(ctx, e, b.OriginId, s.request())),
		s.checkState(ctx, e, b.OriginId, deleted))
}
