package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// maxRetryAfter is the longest wait after a throttled answer.
const maxRetryAfter = 30 * time.Second

// rehearse puts a new record while the ERP has a fault.
func (s *suite) rehearse(ctx context.Context, f rehearsal.Fault) (attempt, time.Duration) {
	if s.target.Rehearse == nil {
		panic(failure{leaveOut("the connector does not simulate faults of its ERP (%s)", f)})
	}
	e := s.pickPut()
	q := s.newPut(ctx, e)
	faulty, err := s.target.Rehearse(ctx, f)
	check(describe(fmt.Sprintf("the target can't simulate the fault %q", f), err))
	start := time.Now()
	a := s.attempt(faulty, q)
	return a, time.Since(start)
}

func lostAnswer(ctx context.Context, s *suite) error {
	e := s.pickPut()
	from := s.cursor(ctx, e)
	a, _ := s.rehearse(ctx, rehearsal.LostAnswer)
	var err error
	if a.err == nil {
		err = errors.New("the ERP's answer was lost, but the connector reported the record as booked: it retried, looked it up itself or ignored the error")
	} else if classOf(a.err) == fault.Throttled {
		err = fmt.Errorf("a lost answer was reported as throttled: %w", a.err)
	}
	return errors.Join(err, s.settle(ctx, from, []attempt{a}))
}

func throttled(ctx context.Context, s *suite) error {
	e := s.pickPut()
	from := s.cursor(ctx, e)
	a, took := s.rehearse(ctx, rehearsal.Throttled)
	wait := fault.RetryAfter(a.err)
	switch {
	case a.err == nil:
		return errors.New("the ERP was busy, but the connector reported the record as booked: it retried or ignored the error")
	case fault.ClassOf(a.err) != fault.Throttled:
		return fmt.Errorf("the ERP was busy, but the error is %s: %w", classOf(a.err), a.err)
	case wait <= 0:
		return fmt.Errorf("the error does not say when to retry: %w", a.err)
	case took > wait+time.Second:
		return fmt.Errorf("the ERP was busy for %v, but the connector returned after %v: it waited itself", wait, took.Round(time.Millisecond))
	}
	if err := s.checkNotBooked(ctx, a.q); err != nil {
		return err
	}
	pause(ctx, min(wait, maxRetryAfter))
	b, err := s.tryPut(ctx, s.main, a.q)
	if err != nil {
		return fmt.Errorf("after the wait that the connector asked for: %w", err)
	}
	return s.checkEachOnce(ctx, from, []*tiebackv1.PutRequest{a.q}, []*tiebackv1.Booking{b})
}
