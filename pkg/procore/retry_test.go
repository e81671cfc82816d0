package procore

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

var (
	errTransient = fault.New(fault.Transient, errors.New("502"))
	errPermanent = fault.New(fault.Permanent, errors.New("422"))
	errLogin     = fault.New(fault.Transient, &LoginError{Status: http.StatusUnauthorized})
)

func limited(d time.Duration) error { return fault.Wait(d, errors.New("429")) }

// Each case has the answers to a call in order, and the expected error; nil is success.
func TestRetry(t *testing.T) {
	const s = time.Second
	patient := Retry{Attempts: 4, Limits: Forever}
	for name, c := range map[string]struct {
		retry   Retry
		method  string
		answers []error
		want    error
		waits   []time.Duration
	}{
		"success":                            {patient, "GET", []error{nil}, nil, nil},
		"the zero value repeats nothing":     {Retry{}, "GET", []error{errTransient}, errTransient, nil},
		"nor waits for a limit":              {Retry{}, "GET", []error{limited(s)}, limited(s), nil},
		"transient errors, then success":     {patient, "GET", []error{errTransient, errTransient, nil}, nil, []time.Duration{s, 2 * s}},
		"attempts are counted":               {patient, "GET", []error{errTransient, errTransient, errTransient, errTransient}, errTransient, []time.Duration{s, 2 * s, 4 * s}},
		"a backoff of its own":               {Retry{Attempts: 2, Backoff: 3 * s}, "GET", []error{errTransient, nil}, nil, []time.Duration{3 * s}},
		"a write is not repeated":            {patient, "PATCH", []error{errTransient}, errTransient, nil},
		"a permanent error is final":         {patient, "GET", []error{errPermanent}, errPermanent, nil},
		"a limit is no attempt":              {patient, "PATCH", []error{limited(40 * s), limited(s), nil}, nil, []time.Duration{40*s + limitSlack, s + limitSlack}},
		"limits are counted":                 {Retry{Limits: 1}, "GET", []error{limited(s), limited(2 * s)}, limited(2 * s), []time.Duration{s + limitSlack}},
		"a long limit fails":                 {Retry{Limits: 9, LongestLimit: 15 * s}, "GET", []error{limited(15 * s), limited(16 * s)}, limited(16 * s), []time.Duration{15*s + limitSlack}},
		"a refused login is repeated":        {patient, "GET", []error{errLogin, nil}, nil, []time.Duration{s}},
		"an interactive refused login fails": {Retry{Attempts: 4, Interactive: true}, "GET", []error{errLogin}, errLogin, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var waits []time.Duration
				c.retry.Waiting = func(d time.Duration, _ string) error { waits = append(waits, d); return nil }
				calls, start := 0, time.Now()
				err := c.retry.repeat(t.Context(), Route{Method: c.method}, noQuota, func() error { calls++; return c.answers[min(calls, len(c.answers))-1] })
				if (err == nil) != (c.want == nil) || err != nil && err.Error() != c.want.Error() || calls != len(c.answers) {
					t.Errorf("%v after %d calls, want %v after %d", err, calls, c.want, len(c.answers))
				}
				var all time.Duration
				for _, d := range waits {
					all += d
				}
				if !slices.Equal(waits, c.waits) || time.Since(start) != all {
					t.Errorf("it reported waits of %v, and took %v; want %v", waits, time.Since(start), c.waits)
				}
			})
		})
	}
}

func noQuota() (Quota, bool) { return Quota{}, false }

func TestRetryLeavesAReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Retry{Reserve: func(limit int) int { return limit / 2 }}
		for remaining, wait := range map[int]time.Duration{1801: 0, 1800: 20 * time.Minute, 0: 20 * time.Minute} {
			start := time.Now()
			quota := func() (Quota, bool) {
				return Quota{Limit: 3600, Remaining: remaining, Reset: start.Add(20 * time.Minute)}, true
			}
			if err := r.repeat(t.Context(), Route{}, quota, func() error { return nil }); err != nil || time.Since(start) != wait {
				t.Errorf("with %d calls left it waited %v: %v", remaining, time.Since(start), err)
			}
		}
	})
}

// A wait ends with its context. It does not begin if it would exceed the deadline, or if Waiting returns an error.
func TestRetryKeepsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Retry{Attempts: 2, Backoff: time.Minute, Limits: Forever}
		for _, failure := range []error{limited(time.Hour), errTransient} {
			fails := func() error { return failure }
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := r.repeat(ctx, GetERPRequest, noQuota, fails); err != failure || time.Since(start) != 0 {
				t.Errorf("under a deadline: %v after %v", err, time.Since(start))
			}
			cancel()
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(5*time.Second, cancel)
			if err := r.repeat(ctx, GetERPRequest, noQuota, fails); !errors.Is(err, context.Canceled) || time.Since(start) != 5*time.Second {
				t.Errorf("cancelled: %v after %v", err, time.Since(start))
			}
			refused := errors.New("not now")
			r := r
			r.Waiting = func(time.Duration, string) error { return refused }
			if err := r.repeat(t.Context(), GetERPRequest, noQuota, fails); err != refused {
				t.Errorf("a refused wait: %v", err)
			}
		}
	})
}

// A session of Retrying shares the state of its company: the missing routes and the limits.
func TestRetryingSharesState(t *testing.T) {
	s := &Session{sessionState: &sessionState{}}
	s.Retrying(Retry{}).MarkMissing(GetERPRequest)
	if !s.Missing(GetERPRequest) {
		t.Error("what one session learns the other does not know")
	}
}
