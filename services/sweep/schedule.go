package sweep

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
)

// schedule is when one company is swept.
//
//	at start                   unless a replica swept within the last Every/20
//	after an outage            unless a replica has swept since it ended
//	every Every, and a tenth   unless a replica swept within the last Every/2
type schedule struct {
	service *Service
	company int64
	outage  chan time.Time // one place: when it ended
}

// nudge has the company swept at once, as after an outage. Many nudges are one.
func (c *schedule) nudge() {
	select {
	case c.outage <- time.Now():
	default:
	}
}

func (c *schedule) run(ctx context.Context) {
	every := c.service.Every
	for since := time.Now().Add(-every / 20); ctx.Err() == nil; {
		if c.skip(ctx, since) {
			c.service.sweeps.WithLabelValues(label(c.company), "skipped").Inc()
		} else {
			c.service.attempt(ctx, c.company)
		}
		timer := time.NewTimer(every + rand.N(every/10+1)) //nolint:gosec // so that companies do not go in step
		select {
		case <-ctx.Done():
		case since = <-c.outage:
		case <-timer.C:
			since = time.Now().Add(-every / 2)
		}
		timer.Stop()
	}
}

// skip says whether the company has been swept since then. If that can't be known, it is swept.
func (c *schedule) skip(ctx context.Context, since time.Time) bool {
	m, err := c.service.load(ctx, c.company)
	if err != nil {
		c.service.Log.Warn("when the last sweep was is not known", zap.Int64("company", c.company), zap.Error(err))
		return false
	}
	if !m.At.IsZero() && !m.At.After(time.Now()) { // by a process before this one, or beside it
		c.service.last.WithLabelValues(label(c.company)).Set(float64(m.At.Unix()))
	}
	return m.At.After(since) && !m.At.After(time.Now())
}
