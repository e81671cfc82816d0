package sweep

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
)

// schedule is when one company is swept.
//
//	at start, after an outage   unless a replica swept within the last Every/20
//	every Every, and a tenth    unless a replica swept within the last Every/2
type schedule struct {
	service *Service
	company int64
	outage  chan struct{}
}

// nudge has the company swept at once, as after an outage. Many nudges are one.
func (c *schedule) nudge() {
	select {
	case c.outage <- struct{}{}:
	default:
	}
}

func (c *schedule) run(ctx context.Context) {
	every := c.service.Every
	for just := every / 20; ctx.Err() == nil; {
		if c.skip(ctx, just) {
			c.service.sweeps.WithLabelValues(label(c.company), "skipped").Inc()
		} else {
			c.service.attempt(ctx, c.company)
		}
		timer := time.NewTimer(every + rand.N(every/10+1)) //nolint:gosec // so that companies do not go in step
		select {
		case <-ctx.Done():
		case <-c.outage:
			just = every / 20
		case <-timer.C:
			just = every / 2
		}
		timer.Stop()
	}
}

// skip says whether the company has been swept just now. If that can't be known, it is swept.
func (c *schedule) skip(ctx context.Context, just time.Duration) bool {
	m, err := c.service.load(ctx, c.company)
	if err != nil {
		c.service.Log.Warn("when the last sweep was is not known", zap.Int64("company", c.company), zap.Error(err))
		return false
	}
	ago := time.Since(m.At)
	return ago >= 0 && ago < just
}
