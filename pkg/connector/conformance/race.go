package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

const (
	changers = 16 // requests that change one record at the same time
	// conflictsMax is how often one of them may be told that the others are in its way.
	conflictsMax = 50
)

// changesAtOnce changes records by 16 requests at the same time each: whoever comes when, the
// newest wins.
func changesAtOnce(ctx context.Context, s *suite) error {
	e, err := s.pick("update and list", func(c *can) bool { return c.Put && c.Update && c.List })
	if err != nil {
		return err
	}
	all, closeAll, err := s.clients(ctx, 4)
	if err != nil {
		return err
	}
	defer closeAll()
	for range 3 {
		if err := s.changeAtOnce(ctx, e, all); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) changeAtOnce(ctx context.Context, e Entity, over []*client) error {
	from, err := s.mark(ctx, e)
	if err != nil {
		return err
	}
	q, b, err := s.book(ctx, e)
	if err != nil {
		return err
	}
	changes := make([]*tiebackv1.PutRequest, changers) // by their request
	for i := range changes {
		changes[i] = s.changeOf(q, b, s.request(), func(r *Record) { r.Name = fmt.Sprintf("%s change %d", q.Record.Name, i+1) })
	}
	tried := make([]attempt, changers)
	var wg sync.WaitGroup
	for n, i := range rand.Perm(changers) {
		wg.Go(func() { tried[i] = insist(ctx, over[n%len(over)], changes[i]) })
	}
	wg.Wait()
	newest := changers - 1
	for i, a := range tried {
		if err := s.changedOrLate(ctx, a, b, i == newest); err != nil {
			return fmt.Errorf("change %d of %d at once: %w", i+1, changers, err)
		}
	}
	return describe(fmt.Sprintf("after %d changes at once", changers), s.content(ctx, from, changes[newest], b))
}

// changedOrLate says that a change was neither made nor refused for a newer one.
func (s *suite) changedOrLate(ctx context.Context, a attempt, b *tiebackv1.Booking, newest bool) error {
	switch {
	case a.err != nil && newest:
		return fmt.Errorf("the newest request must be accepted: %w", a.err)
	case a.err != nil:
		return errors.Join(refused(a.err, "request"), s.never(ctx, a.q))
	case a.b.GetOriginId() != b.OriginId:
		return fmt.Errorf("%s was changed in place, and the answer names %q", b.OriginId, a.b.GetOriginId())
	}
	return s.foundAs(ctx, a.q, a.b)
}

// insist sends a change until it is answered: an ERP that locks records may be busy or ask
// for another try, and the pipeline would give it one.
func insist(ctx context.Context, c *client, q *tiebackv1.PutRequest) attempt {
	for again := 0; ; again++ {
		a, err := c.Put(ctx, clone(q))
		class := fault.ClassOf(err)
		if err == nil || again == conflictsMax || class != fault.Throttled && class != fault.Transient {
			return attempt{q: q, b: a.GetBooking(), err: err}
		}
		if !pause(ctx, max(fault.RetryAfter(err), 10*time.Millisecond+rand.N(20*time.Millisecond))) {
			return attempt{q: q, err: err}
		}
	}
}
