package trace

import (
	"context"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/payload"
)

// Place is where a request is that is not finished.
type Place struct {
	Stop     string     `json:"stop"`
	Run      string     `json:"run"`
	Since    time.Time  `json:"since"`    // when its message was written there
	Handed   Handed     `json:"handed"`   //
	Attempts *int       `json:"attempts"` // begun; null: nothing is noted, as of a first attempt
	Noted    *time.Time `json:"noted_at"` // when an attempt last began, or failed; null: nothing is noted
	Failure  *Failure   `json:"failure"`  // how the last attempt ended that ended; null: none is noted
	Next     *time.Time `json:"next_at"`  // about when the next begins; null: not known, or one is under way
	Deadline *time.Time `json:"deadline"` // when it is closed as failed; null: it has none
}

// Handed says how far the broker has come with a message.
type Handed string

// What is known of it.
const (
	Queued  Handed = "queued"   // nobody was given it yet
	Out     Handed = "out"      // a process was given it, and has not said that it is done
	LetGo   Handed = "let go"   // the stop is done with it, and has written nothing that says how
	Unknown Handed = "unknown"  // the broker could not be asked
	NoStop  Handed = "no queue" // its stop has never run, on this broker
)

// Failure is how an attempt ended.
type Failure struct {
	Class    string `json:"class"`
	Source   string `json:"source"`   // erp, procore; "": Tieback itself, or not known
	Sentence string `json:"sentence"` // for the accountant; "": none
	Error    string `json:"error"`
}

// place finds where the request is.
func (r *reading) place(ctx context.Context) {
	stop, stream, at := r.trace.Stage()
	if stop == "" {
		return
	}
	p := &Place{Stop: stop, Since: at.At.UTC(), Handed: r.handed(ctx, stop, stream, at.Sequence)}
	r.Now = p
	attempts, err := r.bus.Attempts(ctx, bus.AttemptKey{Stream: stream, Consumer: stop, Sequence: at.Sequence})
	if err != nil {
		r.unread("what is noted of its attempts", err)
	}
	p.tried(attempts, r.Backoff)
	r.waits(p, stream, at.Sequence)
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
func (r *reading) handed(ctx context.Context, stop, stream string, seq uint64) Handed {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := r.bus.JetStream().Consumer(ctx, stream, stop)
	switch {
	case isMissing(err):
		return NoStop
	case err != nil:
		r.unread("the consumer "+stop, err)
		return Unknown
	}
	info := c.CachedInfo()
	switch {
	case seq > info.Delivered.Stream:
		return Queued
	case seq <= info.AckFloor.Stream || info.NumAckPending == 0:
		return LetGo
	}
	return Out
}

// waits fills in the run, and the deadline, which counts from when the payload came. Without a
// request detail nobody's button is busy, and there is none.
func (r *reading) waits(p *Place, stream string, seq uint64) {
	for i, s := range r.Steps {
		if bus.Kind(s.Kind).Stream() != stream || s.Sequence != seq {
			continue
		}
		p.Run = s.Run
		e, ok := r.messagesOf[i].(*tiebackv1.Event)
		limit := r.Limits.Of(bus.For(bus.Event, r.Type, 0, 0).Category)
		if ok && limit > 0 && len(payload.Details(e.Payload)) > 0 {
			end := s.At.Add(limit)
			p.Deadline = &end
		}
	}
}
