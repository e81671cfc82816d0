package trouble

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// Tracker follows the calls to one system. The zero value is ready for use; its methods may be called
// concurrently.
type Tracker struct {
	mu       sync.Mutex
	pending  map[*call]struct{}
	answered time.Time // when a call last was
	bad      *Trouble  // how the last call ended that was not answered, since the last that was; nil: none
}

type call struct{ start time.Time }

// Begin notes that a call is under way. The caller calls end once, with its error. end returns the error
// with the time since which calls end so. An error that says that the caller went away (context.Canceled)
// is not noted.
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

// answered says whether the system did its part. A refusal of a record is an answer.
func answered(err error) bool {
	return err == nil || fault.ClassOf(err) == fault.Permanent && fault.ReasonOf(err) != fault.Denied
}

// Now is the trouble of this moment; false: none is known.
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
	if len(t.pending) > 0 { // it is being tried
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
