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
	current  *Trouble  // the trouble since the last answered call; nil: none
}

// ErrNotMade is wrapped by the error of a call that its caller did not make, although the system may work.
var ErrNotMade = errors.New("the call was not made")

type call struct{ start time.Time }

// Begin records that a call is in flight. The caller must call end once, with the error of the call. end returns the error with
// the time since which calls have failed in this way. A canceled call (context.Canceled) and one that was not made (ErrNotMade) are not recorded.
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
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrNotMade) {
		return err
	}
	if answered(err) {
		t.answered, t.current = now, nil
		return err
	}
	next := Of(company, err, now)
	next.Since = laterOf(c.start, t.answered)
	if t.current != nil && t.current.same(next) {
		if t.current.Since.Before(next.Since) {
			next.Since = t.current.Since
		}
	}
	t.current = &next
	return fault.WithSince(next.Since, err)
}

// answered reports whether err is an answer of a working system. The refusal of a record is one; refused credentials are not.
func answered(err error) bool {
	return err == nil || fault.ClassOf(err) == fault.Permanent && fault.ReasonOf(err) != fault.Denied
}

// Now returns the trouble at the time now, and false if there is none. silent is usually Silent.
func (t *Tracker) Now(company int64, source fault.Source, now time.Time, silent time.Duration) (Trouble, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var oldest time.Time
	for c := range t.pending {
		if oldest.IsZero() || c.start.Before(oldest) {
			oldest = c.start
		}
	}
	if !oldest.IsZero() && now.Sub(laterOf(oldest, t.answered)) >= silent && (t.current == nil || t.current.Reason != fault.NoAnswer) {
		return Trouble{
			Company: company, Source: source, Reason: fault.NoAnswer, Since: laterOf(oldest, t.answered), Last: now,
			Error: fmt.Sprintf("a call has had no answer for %v", now.Sub(oldest).Round(time.Second)),
		}, true
	}
	if t.current == nil {
		return Trouble{}, false
	}
	trouble := *t.current
	if len(t.pending) > 0 { // it is being retried
		trouble.Last = now
	}
	return trouble, true
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
