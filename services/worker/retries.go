package worker

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/state"
)

// followRetries reads for which requests an operator wants the next attempt now, and sends each to the consumer once, until ctx
// ends. A worker of another category has no message of the request, and its consumer ignores it.
func followRetries(ctx context.Context, s *state.State, to chan<- bus.Subject, log *zap.Logger) {
	tick := time.NewTicker(pollPauses)
	defer tick.Stop()
	sent := map[state.Retry]bool{}
	for {
		all, err := s.Retries(ctx)
		if err != nil && ctx.Err() == nil {
			log.Warn("could not read which requests are to be tried now", zap.Error(err))
		}
		now := map[state.Retry]bool{}
		for _, r := range all {
			r.At = r.At.UTC()
			if now[r] = true; sent[r] || time.Since(r.At) > state.RetryAge {
				continue
			}
			select {
			case to <- bus.Subject{Company: r.Company, Request: r.Request}:
			case <-ctx.Done():
				return
			}
		}
		if err == nil {
			sent = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
