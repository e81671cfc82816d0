package procore

import (
	"net/http"
	"sync"
	"time"
)

// procoreClock tells Procore's time, in ms since 1970, from the Dates of its answers and our own
// monotonic clock: resets are Procore's times, and our wall clock may be wrong or jump. It
// is late rather than early, by less than a second once some answers came, so that what
// counts as over is over. Before the first answer it has only the wall clock.
type procoreClock struct {
	local func() time.Time

	mu        sync.Mutex
	known     bool
	base      int64     // on Procore's clock …
	baseLocal time.Time // … at this local time
}

func (c *procoreClock) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(c.local())
}

// at needs the lock.
func (c *procoreClock) at(local time.Time) int64 {
	if !c.known {
		return local.UnixMilli()
	}
	return c.base + local.Sub(c.baseLocal).Milliseconds()
}

// update learns from an answer to a call that was sent at a local time. Its Date is cut to
// the second, and it was made between then and now:
//
//	Procore's clock now is   at least Date
//	and was, when sent,      before Date + 1 s
//
// What contradicts the second means that a clock jumped, and the Date has it.
func (c *procoreClock) update(h http.Header, sent time.Time) {
	date, ok := dateOf(h)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	here := c.local()
	if !c.known || c.at(here) < date || c.at(sent) >= date+1000 {
		c.known, c.base, c.baseLocal = true, date, here
	}
}
