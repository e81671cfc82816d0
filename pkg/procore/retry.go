package procore

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// Retry configures which calls a session repeats, and how long it waits before. The zero value repeats none, for services: the
// broker redelivers the event, which occupies no worker in the meantime.
type Retry struct {
	// Attempts is how often a call that reads is made while it fails with a transient error; 0: once. A call that
	// writes is not repeated, as Procore may have processed it. A wait for a rate limit is not an attempt.
	Attempts int
	// Backoff is the wait before the second attempt, and doubles with each; 0: 1 s.
	Backoff time.Duration
	// Interactive returns an error at once if only the user can correct it: Procore refuses the login.
	Interactive bool

	// Limits is how often a call waits for a rate limit; 0: never, negative: as often as it takes.
	Limits int
	// LongestLimit is the longest of these waits; a call that would have to wait longer fails. 0: any.
	LongestLimit time.Duration
	// Reserve returns how many calls of a limit are left to others: while no more remain, a call waits for the
	// limit's reset. Nil: none.
	Reserve func(limit int) int

	// Waiting is called before each wait, with what it waits for. Its error ends the call instead. Nil: waits are
	// not reported.
	Waiting func(d time.Duration, why string) error
}

// Forever is the Limits of a caller that waits for rate limits as often as it takes.
const Forever = -1

// Retrying returns a session of the same company that repeats its calls as r says. If ctx's deadline would
// interrupt a wait, the call's error is returned at once.
func (s *Session) Retrying(r Retry) *Session { return &Session{s.sessionState, r} }

// limitSlack is added to a wait for a rate limit, as clocks may differ.
const limitSlack = 50 * time.Millisecond

// repeat makes a call and repeats it as the session's Retry says.
func (s *Session) repeat(ctx context.Context, route Route, call func() error) error {
	return s.retry.repeat(ctx, route, s.Quota, call)
}

func (r Retry) repeat(ctx context.Context, route Route, quota func() (Quota, bool), call func() error) error {
	if r.Reserve != nil {
		if q, known := quota(); known && q.Remaining <= r.Reserve(q.Limit) {
			if err := r.wait(ctx, time.Until(q.Reset), "the rest of Procore's rate limit is left to the services"); err != nil {
				return err
			}
		}
	}
	limits, attempts := 0, 1
	for {
		err := call()
		if err == nil || ctx.Err() != nil {
			return err
		}
		var wait time.Duration
		switch class := fault.ClassOf(err); {
		case class == fault.Throttled && limits != r.Limits && (r.LongestLimit == 0 || fault.RetryAfter(err) <= r.LongestLimit):
			limits++
			wait = fault.RetryAfter(err) + limitSlack
		case class != fault.Throttled && class != fault.Permanent && route.Method == http.MethodGet && attempts < r.Attempts && !(r.Interactive && loginRefused(err)):
			wait = max(cmp.Or(r.Backoff, time.Second)<<(attempts-1), fault.RetryAfter(err))
			attempts++
		default:
			return err
		}
		if end, bounded := ctx.Deadline(); bounded && time.Until(end) < wait {
			return err
		}
		if err := r.wait(ctx, wait, err.Error()); err != nil {
			return err
		}
	}
}

func (r Retry) wait(ctx context.Context, d time.Duration, why string) error {
	d = max(d, 0)
	if r.Waiting != nil {
		if err := r.Waiting(d, why); err != nil {
			return err
		}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// loginRefused reports whether Procore refused the client's credentials.
func loginRefused(err error) bool {
	var login *LoginError
	return errors.As(err, &login) && login.Status < http.StatusInternalServerError
}
