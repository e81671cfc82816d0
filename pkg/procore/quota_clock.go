package procore

import (
	"net/http"
	"sync"
	"time"
)

// procoreClock estimates Procore's time, in ms since 1970, from the Date headers of its answers and the local monotonic clock:
// resets are times of Procore's clock, and the local wall clock may be wrong or jump. After some answers the estimate is late by
// less than a second, and never early, so that a window is not considered over too soon. Before the first answer it is the wall
// clock.
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

// at returns Procore's time at a local time. The caller holds the lock.
func (c *procoreClock) at(local time.Time) int64 {
	if !c.known {
		return local.UnixMilli()
	}
	return c.base + local.Sub(c.baseLocal).Milliseconds()
}

// update updates the estimate from the Date of an answer to a call that was sent at a local time. The Date is truncated to the
// second, and the answer was made between then and now:
//
//	Procore's clock now is   at least Date
//	and was, when sent,      before Date + 1 s
//
// If the estimate contradicts this, a clock has jumped, and the Date is used.
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
