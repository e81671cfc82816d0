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

// crash kills the connector while 40 records are being booked, three times where that is quick.
func crash(ctx context.Context, s *suite) error {
	if s.target.Restart == nil {
		return leave("the target has no way to restart the connector")
	}
	e, err := s.booked()
	if err != nil {
		return err
	}
	start := time.Now()
	var noticed atomic.Int64 // calls that failed because of a restart
	for round := range 3 {
		if err := s.killed(ctx, e, 3+round*8, &noticed); err != nil {
			return err
		}
		if time.Since(start) > 10*time.Second {
			break
		}
	}
	if noticed.Load() == 0 {
		return errors.New("the restart came back, and no call noticed: nothing was killed. Does it kill the process that keeps the books?")
	}
	return nil
}

// attempt is a put and what its caller was told.
type attempt struct {
	q   *tiebackv1.PutRequest
	b   *tiebackv1.Booking
	err error
}

// killed restarts the connector once some records are booked and others are under way.
func (s *suite) killed(ctx context.Context, e Entity, after int, noticed *atomic.Int64) error {
	from, err := s.mark(ctx, e)
	if err != nil {
		return err
	}
	all, err := s.many(ctx, e, 40)
	if err != nil {
		return err
	}
	tried, err := s.putAndKill(ctx, all, after, noticed)
	if err != nil {
		return err
	}
	if err := s.reopen(ctx, time.Minute); err != nil {
		return fmt.Errorf("after it was killed and started again the connector does not answer: %w", err)
	}
	return s.settle(ctx, from, tried)
}

func (s *suite) putAndKill(ctx context.Context, all []*tiebackv1.PutRequest, after int, noticed *atomic.Int64) ([]attempt, error) {
	tried := make([]attempt, len(all))
	var next, booked atomic.Int64
	var once sync.Once
	var dying atomic.Bool
	enough, back := make(chan struct{}), make(chan struct{})
	notice := func(err error) {
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
				notice(tried[i].err)
				if tried[i].err != nil || int(booked.Add(1)) >= after {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	<-enough
	for range 2 { // what is booked may all be answered before the connector dies
		wg.Go(func() { s.look(ctx, all[0], back, notice) })
	}
	dying.Store(true)
	err := s.target.Restart(ctx)
	close(back)
	wg.Wait()
	if err != nil {
		err = fmt.Errorf("the target can't restart the connector: %w", err)
	}
	return tried, err
}

// look asks for a key, again and again, until the connector is back, and once more.
func (s *suite) look(ctx context.Context, q *tiebackv1.PutRequest, back <-chan struct{}, notice func(error)) {
	for last := false; ; {
		call, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := s.main.Find(call, &tiebackv1.FindRequest{CompanyId: s.target.Company, Key: q.Key, Entity: q.Record.Entity})
		cancel()
		notice(err)
		if last || ctx.Err() != nil {
			return
		}
		select {
		case <-back:
			last = true
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *suite) attempt(ctx context.Context, q *tiebackv1.PutRequest) attempt {
	a, err := s.main.Put(ctx, clone(q))
	return attempt{q: q, b: a.GetBooking(), err: err}
}

// settle says what is not true of what callers were told, and books the rest again by the
// same keys: each record is then there once.
func (s *suite) settle(ctx context.Context, from string, tried []attempt) error {
	var asked []*tiebackv1.PutRequest
	var got []*tiebackv1.Booking
	for _, a := range tried {
		b, err := s.again(ctx, a)
		if err != nil {
			return err
		}
		asked, got = append(asked, a.q), append(got, b)
	}
	return s.eachOnce(ctx, from, asked, got)
}

// again looks an attempt up by its key and sends it again.
func (s *suite) again(ctx context.Context, a attempt) (*tiebackv1.Booking, error) {
	found, err := s.find(ctx, a.q)
	if err != nil {
		return nil, err
	}
	if err := a.told(found); err != nil {
		return nil, err
	}
	b, err := s.put(ctx, s.main, a.q)
	if err == nil && found != nil {
		err = same("the same key again", b, found)
	}
	return b, err
}

// told compares what the caller was told with what the key says.
func (a attempt) told(found *tiebackv1.Booking) error {
	what := connector.Describe(a.q.Record)
	switch {
	case a.err == nil && found == nil:
		return fmt.Errorf("%s was answered as booked, and Find by its key says that it never was", what)
	case a.err == nil:
		return same("Find", found, a.b)
	case classOf(a.err) == fault.Permanent:
		return fmt.Errorf("%s was told as refused for good, and only the answer was missing: %w", what, a.err)
	case found != nil && classOf(a.err) != fault.Ambiguous:
		return fmt.Errorf("%s was told as %s, so nothing should have happened, and it is booked as %s: %w", what, classOf(a.err), found.OriginId, a.err)
	}
	return nil
}

// timeouts puts with deadlines of 0.1, 0.2, 0.3 … ms up to some 50: an ERP's speed is
// somewhere there.
func timeouts(ctx context.Context, s *suite) error {
	deadline := 100 * time.Microsecond
	return s.impatient(ctx, func(int) (context.Context, context.CancelFunc) {
		deadline += deadline * 2 / 5
		return context.WithTimeout(ctx, deadline)
	})
}

// promptly is how long a driver may take to notice that its caller is gone.
const promptly = 2 * time.Second

func cancelled(ctx context.Context, s *suite) error {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.gone(gone); err != nil {
		return err
	}
	return s.impatient(ctx, func(i int) (context.Context, context.CancelFunc) {
		call, cancel := context.WithCancel(ctx)
		if i == 0 { // before it began
			cancel()
		}
		timer := time.AfterFunc(time.Duration(i-1)*time.Millisecond, cancel)
		return call, func() { timer.Stop(); cancel() }
	})
}

// impatient books records whose callers give up, and settles what became of them.
func (s *suite) impatient(ctx context.Context, patience func(i int) (context.Context, context.CancelFunc)) error {
	e, err := s.booked()
	if err != nil {
		return err
	}
	from, err := s.mark(ctx, e)
	if err != nil {
		return err
	}
	all, err := s.many(ctx, e, 20)
	if err != nil {
		return err
	}
	var tried []attempt
	for i, q := range all {
		call, cancel := patience(i)
		start := time.Now()
		a := s.attempt(call, q)
		over := call.Err() != nil
		cancel()
		if late := time.Since(start); over && late > promptly {
			return fmt.Errorf("the caller gave up at once, and the put came back after %v", late.Round(time.Millisecond))
		}
		tried = append(tried, a)
	}
	return s.settle(ctx, from, tried)
}

// gone makes each reading call for a caller who is gone already.
func (s *suite) gone(ctx context.Context) error {
	e, err := s.booked()
	if err != nil {
		return err
	}
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
			return fmt.Errorf("the caller was gone, and %s came back after %v", name, took.Round(time.Millisecond))
		case declared && fault.ClassOf(err) == fault.Permanent:
			return fmt.Errorf("the caller was gone, and %s calls that permanent: %w", name, err)
		case err != nil && declared && !errors.Is(err, context.Canceled) && fault.ClassOf(err) == fault.Ambiguous:
			return fmt.Errorf("%s changes nothing, so it can't be ambiguous: %w", name, err)
		}
	}
	return nil
}
