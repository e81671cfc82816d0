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
	changers = 16 // concurrent changes of one record
	// maxConflicts is the number of times that the ERP may refuse one of them because of the others.
	maxConflicts = 50
)

// changesAtOnce makes 16 concurrent changes of a record, several times. In any order, the newest request
// wins.
func changesAtOnce(ctx context.Context, s *suite) error {
	e := s.pick("update and list", updatesAndLists)
	all, closeAll := s.clients(ctx, 4)
	defer closeAll()
	for range 3 {
		if err := s.changeAtOnce(ctx, e, all); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) changeAtOnce(ctx context.Context, e Entity, over []*client) error {
	from := s.cursor(ctx, e)
	q, b := s.book(ctx, e)
	changes := make([]*tiebackv1.PutRequest, changers) // in the order of their requests
	for i := range changes {
		changes[i] = s.changeOf(q, b, s.request(), func(r *Record) { r.Name = fmt.Sprintf("%s change %d", q.Record.Name, i+1) })
	}
	tried := make([]attempt, changers)
	var wg sync.WaitGroup
	for n, i := range rand.Perm(changers) {
		wg.Go(func() { tried[i] = putUntilAnswered(ctx, over[n%len(over)], changes[i]) })
	}
	wg.Wait()
	newest := changers - 1
	for i, a := range tried {
		if err := s.checkChange(ctx, a, b, i == newest); err != nil {
			return fmt.Errorf("change %d of %d concurrent ones: %w", i+1, changers, err)
		}
	}
	return describe(fmt.Sprintf("after %d concurrent changes", changers), s.checkContent(ctx, from, changes[newest], b))
}

// checkChange returns an error unless a change was made, or refused because of a newer one.
func (s *suite) checkChange(ctx context.Context, a attempt, b *tiebackv1.Booking, newest bool) error {
	switch {
	case a.err != nil && newest:
		return fmt.Errorf("the newest request must be accepted: %w", a.err)
	case a.err != nil:
		return errors.Join(refused(a.err, "request"), s.checkNotBooked(ctx, a.q))
	case a.b.GetOriginId() != b.OriginId:
		return fmt.Errorf("%s was changed in place, but the answer names %q", b.OriginId, a.b.GetOriginId())
	}
	return s.checkFound(ctx, a.q, a.b)
}

// putUntilAnswered sends a change until it is accepted or refused: an ERP that locks records may be busy, or
// ask for a retry like the pipeline's.
func putUntilAnswered(ctx context.Context, c *client, q *tiebackv1.PutRequest) attempt {
	for attempts := 0; ; attempts++ {
		a, err := c.Put(ctx, clone(q))
		class := fault.ClassOf(err)
		if err == nil || attempts == maxConflicts || class != fault.Throttled && class != fault.Transient {
			return attempt{q: q, b: a.GetBooking(), err: err}
		}
		if !pause(ctx, max(fault.RetryAfter(err), 10*time.Millisecond+rand.N(20*time.Millisecond))) {
			return attempt{q: q, err: err}
		}
	}
}
