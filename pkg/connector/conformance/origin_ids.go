package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Procore distinguishes origin ids by item type only, and some entities share an item type.
var (
	sharedLines   = []Entity{commitment, changeOrder, primeContract, primeChangeOrder} // their lines are line_items
	sharedHeaders = []Entity{changeOrder, primeChangeOrder}                            // they are change_orders
)

func originsApart(ctx context.Context, s *suite) error {
	var some []Entity
	for _, e := range sharedLines {
		if c := s.cans[e]; c != nil && c.Put {
			some = append(some, e)
		}
	}
	if len(some) < 2 {
		return leaveOut("the connector takes no two of %s", oneOf(sharedLines))
	}
	heads, lines := owners{}, owners{}
	var errs []error
	for _, e := range some {
		records, err := s.bookAndList(ctx, e)
		if err != nil {
			return err
		}
		for _, r := range records {
			if e == sharedHeaders[0] || e == sharedHeaders[1] {
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
func (s *suite) bookAndList(ctx context.Context, e Entity) ([]*Record, error) {
	q, b, err := s.book(ctx, e)
	if err != nil {
		return nil, err
	}
	r := clone(q).Record
	r.OriginId = b.OriginId
	for i, l := range r.Lines {
		l.OriginId = b.LineOriginIds[i]
	}
	out := []*Record{r}
	if !s.cans[e].List {
		return out, nil
	}
	all, _, err := s.changes(ctx, &tiebackv1.ListRequest{Entity: e})
	for _, c := range all {
		if !c.Deleted && c.Record.OriginId != r.OriginId {
			out = append(out, c.Record)
		}
	}
	return out, err
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
	e, err := s.pick("update, state and remove", func(c *can) bool { return c.Put && c.Update && c.State && c.Remove })
	if err != nil {
		return err
	}
	q, b, err := s.book(ctx, e)
	if err != nil {
		return err
	}
	older, newer := s.request(), s.request()
	change := s.changeOf(q, b, newer, func(r *Record) { r.Name = q.Record.Name + " newer" })
	if _, err := s.put(ctx, s.main, change); err != nil {
		return err
	}
	return errors.Join(
		describe("a reset by an older request", refused(s.removeBy(ctx, e, b.OriginId, older), "request")),
		s.checkState(ctx, e, b.OriginId, present),
		describe("a reset by a newer one", s.removeBy(ctx, e, b.OriginId, s.request())),
		s.checkState(ctx, e, b.OriginId, deleted))
}
