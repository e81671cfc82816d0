package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// crash kills the connector while it books 40 records, three times if that is fast.
func crash(ctx context.Context, s *suite) error {
	if s.target.Restart == nil {
		return leaveOut("the target has no way to restart the connector")
	}
	e := s.pickPut()
	start := time.Now()
	var noticed atomic.Int64 // calls that failed because of a restart
	for round := range 3 {
		if err := s.killWhileBooking(ctx, e, 3+round*8, &noticed); err != nil {
			return err
		}
		if time.Since(start) > 10*time.Second {
			break
		}
	}
	if noticed.Load() == 0 {
		return errors.New("no call failed after Restart returned: nothing was killed. Does Restart kill the process that keeps the books?")
	}
	return nil
}

// attempt is a put and the answer that its caller got.
type attempt struct {
	q   *tiebackv1.PutRequest
	b   *tiebackv1.Booking
	err error
}

// killWhileBooking restarts the connector after some records are booked, while others are in flight.
func (s *suite) killWhileBooking(ctx context.Context, e Entity, after int, noticed *atomic.Int64) error {
	from := s.cursor(ctx, e)
	all := s.many(ctx, e, 40)
	tried, err := s.putAndKill(ctx, all, after, noticed)
	if err != nil {
		return err
	}
	if err := s.reopen(ctx, time.Minute); err != nil {
		return fmt.Errorf("the connector was killed and restarted and does not answer: %w", err)
	}
	return s.settle(ctx, from, tried)
}

func (s *suite) putAndKill(ctx context.Context, all []*tiebackv1.PutRequest, after int, noticed *atomic.Int64) ([]attempt, error) {
	tried := make([]attempt, len(all))
	var next, booked atomic.Int64
	var once sync.Once
	var dying atomic.Bool
	enough, restarted := make(chan struct{}), make(chan struct{})
	count := func(err error) {
		if class := fault.ClassOf(err); err != nil && dying.Load() && class != fault.Permanent && class != fault.Throttled {
			noticed.Add(1)
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(all); i = next.Add(1) - 1 {
				call, cancel := context.WithTimeout(ctx, 10*time.Second)
				tried[i] = s.attempt(call, all[i])
				cancel()
				count(tried[i].err)
				if tried[i].err != nil || int(booked.Add(1)) >= after {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	<-enough
	for range 2 { // the booked records may all be answered before the connector dies
		wg.Go(func() { s.pollFind(ctx, all[0], restarted, count) })
	}
	dying.Store(true)
	err := s.target.Restart(ctx)
	close(restarted)
	wg.Wait()
	if err != nil {
		err = fmt.Errorf("the target can't restart the connector: %w", err)
	}
	return tried, err
}

// pollFind calls Find repeatedly until the connector is restarted, and once more.
func (s *suite) pollFind(ctx context.Context, q *tiebackv1.PutRequest, restarted <-chan struct{}, count func(error)) {
	for last := false; ; {
		call, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := s.main.Find(call, &tiebackv1.FindRequest{CompanyId: s.target.Company, Key: q.Key, Entity: q.Record.Entity})
		cancel()
		count(err)
		if last || ctx.Err() != nil {
			return
		}
		select {
		case <-restarted:
			last = true
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *suite) attempt(ctx context.Context, q *tiebackv1.PutRequest) attempt {
	a, err := s.main.Put(ctx, clone(q))
	return attempt{q: q, b: a.GetBooking(), err: err}
}

// settle checks the answers that callers got, and repeats all puts with the same keys. Afterwards each record
// is booked once.
func (s *suite) settle(ctx context.Context, from string, tried []attempt) error {
	var asked []*tiebackv1.PutRequest
	var got []*tiebackv1.Booking
	for _, a := range tried {
		b, err := s.repeatAttempt(ctx, a)
		if err != nil {
			return err
		}
		asked, got = append(asked, a.q), append(got, b)
	}
	return s.checkEachOnce(ctx, from, asked, got)
}

// repeatAttempt looks an attempt up by its key and sends it again.
func (s *suite) repeatAttempt(ctx context.Context, a attempt) (*tiebackv1.Booking, error) {
	found := s.find(ctx, a.q)
	if err := a.checkAnswer(found); err != nil {
		return nil, err
	}
	b, err := s.tryPut(ctx, s.main, a.q)
	if err == nil && found != nil {
		err = same("the same key again", b, found)
	}
	return b, err
}

// checkAnswer compares the answer that the caller got with the booking of the key.
func (a attempt) checkAnswer(found *tiebackv1.Booking) error {
	what := connector.Describe(a.q.Record)
	switch {
	case a.err == nil && found == nil:
		return fmt.Errorf("%s was reported as booked, but Find does not find its key", what)
	case a.err == nil:
		return same("Find", found, a.b)
	case classOf(a.err) == fault.Permanent:
		return fmt.Errorf("%s was reported as permanently refused, but only the answer was missing: %w", what, a.err)
	case found != nil && classOf(a.err) != fault.Ambiguous:
		return fmt.Errorf("%s was reported as %s, so nothing should have happened, but it is booked as %s: %w", what, classOf(a.err), found.OriginId, a.err)
	}
	return nil
}

// timeouts puts records with deadlines of 0.1, 0.14, 0.2 … ms up to about 50 ms: the response time of an ERP
// is in that range.
func timeouts(ctx context.Context, s *suite) error {
	deadline := 100 * time.Microsecond
	return s.putAndGiveUp(ctx, func(int) (context.Context, context.CancelFunc) {
		deadline += deadline * 2 / 5
		return context.WithTimeout(ctx, deadline)
	})
}

// promptly is how long a driver may take to notice that its context ended.
const promptly = 2 * time.Second

func cancelled(ctx context.Context, s *suite) error {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.readCanceled(gone); err != nil {
		return err
	}
	return s.putAndGiveUp(ctx, func(i int) (context.Context, context.CancelFunc) {
		call, cancel := context.WithCancel(ctx)
		if i == 0 { // before the call begins
			cancel()
		}
		timer := time.AfterFunc(time.Duration(i-1)*time.Millisecond, cancel)
		return call, func() { timer.Stop(); cancel() }
	})
}

// putAndGiveUp books records whose callers give up, and settles the results.
func (s *suite) putAndGiveUp(ctx context.Context, callContext func(i int) (context.Context, context.CancelFunc)) error {
	e := s.pickPut()
	from := s.cursor(ctx, e)
	all := s.many(ctx, e, 20)
	var tried []attempt
	for i, q := range all {
		call, cancel := callContext(i)
		start := time.Now()
		a := s.attempt(call, q)
		over := call.Err() != nil
		cancel()
		if late := time.Since(start); over && late > promptly {
			return fmt.Errorf("the context of the put ended, but the put returned after %v", late.Round(time.Millisecond))
		}
		tried = append(tried, a)
	}
	return s.settle(ctx, from, tried)
}

// readCanceled makes each reading call with a canceled context.
func (s *suite) readCanceled(ctx context.Context) error {
	e := s.pickPut()
	company, c := s.target.Company, s.main
	for name, call := range map[string]func() error{
		"capabilities": func() error {
			_, err := c.Capabilities(ctx, &tiebackv1.CapabilitiesRequest{CompanyId: company})
			return err
		},
		"find": func() error {
			_, err := c.Find(ctx, &tiebackv1.FindRequest{CompanyId: company, Key: "none", Entity: e})
			return err
		},
		"list": func() error { _, err := c.List(ctx, &tiebackv1.ListRequest{CompanyId: company, Entity: e}); return err },
		"state": func() error {
			_, err := c.State(ctx, &tiebackv1.StateRequest{CompanyId: company, Entity: e, OriginId: "none"})
			return err
		},
	} {
		start := time.Now()
		err := call()
		declared := name != "list" && name != "state" || name == "list" && s.cans[e].List || name == "state" && s.cans[e].State
		switch took := time.Since(start); {
		case took > promptly:
			return fmt.Errorf("the context had ended, but %s returned after %v", name, took.Round(time.Millisecond))
		case declared && fault.ClassOf(err) == fault.Permanent:
			return fmt.Errorf("the context had ended, but %s returned a permanent error: %w", name, err)
		case err != nil && declared && !errors.Is(err, context.Canceled) && fault.ClassOf(err) == fault.Ambiguous:
			return fmt.Errorf("%s changes nothing, so it can't be ambiguous: %w", name, err)
		}
	}
	return nil
}
