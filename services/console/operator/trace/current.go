package trace

import (
	"context"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
)

// Current is the stage of a request that has not ended.
type Current struct {
	Stage       string                `json:"stage"`
	Run         string                `json:"run"`
	Since       time.Time             `json:"since"` // when its message was published
	Handed      request.DeliveryState `json:"delivery_state"`
	Attempts    *int                  `json:"attempts"`        // started; null if none is recorded, as for a first attempt
	LastAttempt *time.Time            `json:"last_attempt_at"` // when the last attempt started or failed; null if none is recorded
	Failure     *Failure              `json:"failure"`         // of the last attempt that ended; null if none is recorded
	Next        *time.Time            `json:"next_at"`         // about when the next attempt starts; null if not known, or if one is running
	Deadline    *time.Time            `json:"deadline"`        // when it is closed as failed; null if it has no deadline
}

// Failure is the error of an attempt.
type Failure struct {
	Class       string `json:"class"`
	Source      string `json:"source"`       // erp or procore; "" for Tieback itself, or if not known
	UserMessage string `json:"user_message"` // for the accountant; may be ""
	Error       string `json:"error"`
}

// current sets the current stage, if there is one.
func (r *reader) current(ctx context.Context) {
	at := r.verdict.At
	stage, stream := at.Name, at.Kind.Stream()
	if stage == "" {
		return
	}
	p := &Current{Stage: stage, Run: at.Run, Since: at.At.UTC(), Handed: r.handed(ctx, stage, at.Sequence)}
	if due := r.verdict.Due; at.Kind == bus.Event && !due.IsZero() { // only events are closed as failed at their deadline
		p.Deadline = &due
	}
	r.Current = p
	attempts, err := r.bus.Attempts(ctx, bus.AttemptKey{Stream: stream, Consumer: stage, Sequence: at.Sequence})
	if err != nil {
		r.unread("its attempts", err)
	}
	p.attempts(attempts, r.Backoff)
}

func (p *Current) attempts(a bus.Attempts, backoff time.Duration) {
	if a.At.IsZero() {
		return
	}
	n, at := a.Done+a.Unfinished, a.At.UTC()
	p.Attempts, p.LastAttempt = &n, &at
	if err := a.Failure(); err != nil {
		p.Failure = &Failure{
			Class: fault.ClassOf(err).String(), Source: string(fault.SourceOf(err)),
			UserMessage: fault.UserMessage(err, ""), Error: err.Error(),
		}
	}
	if next := a.Next(backoff).UTC(); next.Unix() > 0 {
		p.Next = &next
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
