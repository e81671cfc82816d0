package trace

import (
	"context"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
)

// Place is where a request is that is not finished.
type Place struct {
	Stop     string                `json:"stop"`
	Run      string                `json:"run"`
	Since    time.Time             `json:"since"`    // when its message was written there
	Handed   request.DeliveryState `json:"handed"`   //
	Attempts *int                  `json:"attempts"` // begun; null: nothing is noted, as of a first attempt
	Noted    *time.Time            `json:"noted_at"` // when an attempt last began, or failed; null: nothing is noted
	Failure  *Failure              `json:"failure"`  // how the last attempt ended that ended; null: none is noted
	Next     *time.Time            `json:"next_at"`  // about when the next begins; null: not known, or one is under way
	Deadline *time.Time            `json:"deadline"` // when it is closed as failed; null: it has none
}

// Failure is how an attempt ended.
type Failure struct {
	Class    string `json:"class"`
	Source   string `json:"source"`   // erp, procore; "": Tieback itself, or not known
	Sentence string `json:"sentence"` // for the accountant; "": none
	Error    string `json:"error"`
}

// place finds where the request is.
func (r *reading) place(ctx context.Context) {
	at := r.verdict.At
	stop, stream := at.Name, at.Kind.Stream()
	if stop == "" {
		return
	}
	p := &Place{Stop: stop, Run: at.Run, Since: at.At.UTC(), Handed: r.handed(ctx, stop, at.Sequence)}
	if due := r.verdict.Due; at.Kind == bus.Event && !due.IsZero() { // no other message is closed as failed when it is late
		p.Deadline = &due
	}
	r.Now = p
	attempts, err := r.bus.Attempts(ctx, bus.AttemptKey{Stream: stream, Consumer: stop, Sequence: at.Sequence})
	if err != nil {
		r.unread("what is noted of its attempts", err)
	}
	p.tried(attempts, r.Backoff)
}

func (p *Place) tried(a bus.Attempts, backoff time.Duration) {
	if a.At.IsZero() {
		return
	}
	n, at := a.Done+a.Unfinished, a.At.UTC()
	p.Attempts, p.Noted = &n, &at
	if err := a.Failure(); err != nil {
		p.Failure = &Failure{
			Class: fault.ClassOf(err).String(), Source: string(fault.SourceOf(err)),
			Sentence: fault.UserMessage(err, ""), Error: err.Error(),
		}
	}
	if next := a.Next(backoff).UTC(); next.Unix() > 0 {
		p.Next = &next
	}
}

// handed asks how far the stop's consumer has come.
func (r *reading) handed(ctx context.Context, stop string, seq uint64) request.DeliveryState {
	durables := bus.Durables()
	i := slices.IndexFunc(durables, func(d bus.Durable) bool { return d.Name == stop })
	if i < 0 {
		return request.NoConsumer
	}
	q, err := request.ReadQueue(ctx, r.bus, durables[i])
	if err != nil {
		r.unread("the consumer "+stop, err)
		return request.NotRead
	}
	return q.DeliveryState(seq)
}
