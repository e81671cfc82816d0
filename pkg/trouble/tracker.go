package trouble

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// Tracker tracks the calls to one system. The zero value is ready for use. Its methods may be called
// concurrently.
type Tracker struct {
	mu       sync.Mutex
	pending  map[*call]struct{}
	answered time.Time // when a call was last answered
	bad      *Trouble  // the trouble since the last answered call; nil: none
}

type call struct{ start time.Time }

// Begin records that a call is in flight. The caller calls end once, with the error of the call. end returns
// the error with the time since which calls fail like this. A canceled call (context.Canceled) is not
// recorded.
func (t *Tracker) Begin(company int64) (end func(err error) error) {
	c := &call{start: time.Now()}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending == nil {
		t.pending = map[*call]struct{}{}
	}
	t.pending[c] = struct{}{}
	return func(err error) error { return t.end(company, c, err) }
}

func (t *Tracker) end(company int64, c *call, err error) error {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.pending, c)
	if errors.Is(err, context.Canceled) {
		return err
	}
	if answered(err) {
		t.answered, t.bad = now, nil
		return err
	}
	next := Of(company, err, now)
	next.Since = later(c.start, t.answered)
	if t.bad != nil && t.bad.same(next) {
		next.Since = earlier(t.bad.Since, next.Since)
	}
	t.bad = &next
	return fault.WithSince(next.Since, err)
}

// answered reports whether the system did its part. The refusal of a record is an answer.
func answered(err error) bool {
	return err == nil || fault.ClassOf(err) == fault.Permanent && fault.ReasonOf(err) != fault.Denied
}

// Now returns the current trouble, and false if none is known.
func (t *Tracker) Now(company int64, source fault.Source, now time.Time, silent time.Duration) (Trouble, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var oldest time.Time
	for c := range t.pending {
		if oldest.IsZero() || c.start.Before(oldest) {
			oldest = c.start
		}
	}
	if !oldest.IsZero() && now.Sub(later(oldest, t.answered)) >= silent && (t.bad == nil || t.bad.Reason != fault.NoAnswer) {
		return Trouble{
			Company: company, Source: source, Reason: fault.NoAnswer, Since: later(oldest, t.answered), Last: now,
			Error: fmt.Sprintf("a call has had no answer for %v", now.Sub(oldest).Round(time.Second)),
		}, true
	}
	if t.bad == nil {
		return Trouble{}, false
	}
	bad := *t.bad
	if len(t.pending) > 0 { // it is being retried
		bad.Last = now
	}
	return bad, true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
