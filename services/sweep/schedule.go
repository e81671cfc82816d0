package sweep

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
)

// schedule decides when a company is swept.
//
//	at start                   unless a process swept it within the last Every/20
//	after an outage            unless a process has swept it since the outage ended
//	each Every, plus jitter    unless a process swept it within the last Every/2
type schedule struct {
	service *Service
	company int64
	outage  chan time.Time // of capacity 1: when an outage ended
}

// trigger has the company swept at once, because an outage has ended. Triggers that come before that sweep count as one.
func (c *schedule) trigger() {
	select {
	case c.outage <- time.Now():
	default:
	}
}

// run sweeps the company until ctx ends.
func (c *schedule) run(ctx context.Context) {
	every := c.service.Every
	for since := time.Now().Add(-every / 20); ctx.Err() == nil; {
		if c.sweptSince(ctx, since) {
			c.service.sweeps.WithLabelValues(label(c.company), "skipped").Inc()
		} else {
			c.service.attempt(ctx, c.company)
		}
		timer := time.NewTimer(every + rand.N(every/10+1)) //nolint:gosec // jitter, so that companies are not swept together
		select {
		case <-ctx.Done():
		case since = <-c.outage:
		case <-timer.C:
			since = time.Now().Add(-every / 2)
		}
		timer.Stop()
	}
}

// sweptSince reports whether a process has swept the company after a time. It returns false if the checkpoint can't be read.
func (c *schedule) sweptSince(ctx context.Context, since time.Time) bool {
	m, err := c.service.load(ctx, c.company)
	if err != nil {
		c.service.Log.Warn("could not read the time of the last sweep, will sweep now", zap.Int64("company", c.company), zap.Error(err))
		return false
	}
	if !m.At.IsZero() && !m.At.After(time.Now()) { // by an earlier or another process
		c.service.last.WithLabelValues(label(c.company)).Set(float64(m.At.Unix()))
	}
	return m.At.After(since) && !m.At.After(time.Now())
}
