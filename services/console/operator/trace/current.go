package trace

import (
	"context"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// current sets the current stage, if there is one.
func (r *reader) current(ctx context.Context) {
	is := r.verdict.At
	stage, stream := is.Name, is.Kind.Stream()
	if stage == "" {
		return
	}
	c := &operatorv1.Current{Stage: stage, Run: is.Run, Since: at(is.At), DeliveryState: string(r.handed(ctx, stage, is.Sequence))}
	if is.Kind == bus.Event { // only events are closed as failed at their deadline
		c.Due = at(r.verdict.Due)
	}
	r.Current = c
	attempts, err := r.bus.Attempts(ctx, bus.AttemptKey{Stream: stream, Consumer: stage, Sequence: is.Sequence})
	if err != nil {
		r.unread("its attempts", err)
	}
	addAttempts(c, attempts, r.Backoff)
}

func addAttempts(c *operatorv1.Current, a bus.Attempts, backoff time.Duration) {
	if a.At.IsZero() {
		return
	}
	c.Attempts, c.LastAttempt = int32(a.Done+a.Unfinished), at(a.At) //nolint:gosec // a small number
	if err := a.Failure(); err != nil {
		c.Failure = &operatorv1.Failure{
			Class: fault.ClassOf(err).String(), Source: string(fault.SourceOf(err)),
			UserMessage: fault.UserMessage(err, ""), Error: err.Error(),
		}
	}
	if next := a.Next(backoff); next.Unix() > 0 {
		c.NextAttempt = at(next)
	}
}

// handed returns whether the stage's consumer has delivered the message.
func (r *reader) handed(ctx context.Context, stage string, seq uint64) request.DeliveryState {
	durables := topology.Durables()
	i := slices.IndexFunc(durables, func(d topology.Durable) bool { return d.Name == stage })
	if i < 0 {
		return request.NoConsumer
	}
	q, err := request.ReadQueue(ctx, r.bus, durables[i])
	if err != nil {
		r.unread("the consumer "+stage, err)
		return request.NotRead
	}
	return q.DeliveryState(seq)
}
