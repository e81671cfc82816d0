package worker

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/state"
)

// followRetries reads for which requests an operator wants the next attempt now, and sends each to the consumer once, until ctx
// ends. It ignores those that it finds at its first look: the consumer of a process that has just started has no waiting messages. A
// worker of another category has no message of the request, and its consumer ignores it.
func followRetries(ctx context.Context, read func(context.Context) ([]state.Retry, error), to chan<- bus.Subject, log *zap.Logger) {
	tick := time.NewTicker(pollPauses)
	defer tick.Stop()
	var seen map[state.Retry]bool // nil: there was no look yet
	for {
		all, err := read(ctx)
		if err != nil && ctx.Err() == nil {
			log.Warn("could not read which requests are to be tried now", zap.Error(err))
		}
		now := map[state.Retry]bool{}
		for _, r := range all {
			r.At = r.At.UTC()
			if now[r] = true; seen == nil || seen[r] {
				continue
			}
			select {
			case to <- bus.Subject{Company: r.Company, Request: r.Request}:
			case <-ctx.Done():
				return
			}
		}
		if err == nil {
			seen = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
