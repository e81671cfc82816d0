package trace

import (
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// since sets how long a step took, counted from an earlier step:
//
//	step          counted from
//	delivery      the click
//	event         the delivery of its run, or the resolution that replayed it
//	outcome       the event of its run, the delivery if it could not be fetched, or the resolution
//	closed        the outcome of its run
//	dead letter   the message that failed: outcome, event or delivery of its run
//	resolution    its dead letter
func (r *reader) since(s *operatorv1.Step) {
	if what, from := r.previous(s); !from.IsZero() {
		s.Since, s.Took = what, between(from, s.At.AsTime())
	}
}

func (r *reader) previous(s *operatorv1.Step) (string, time.Time) {
	base := bus.Subject{Run: s.Run}.OfEvent().Run
	switch bus.Kind(s.Kind) {
	case bus.Delivery:
		if s.Run == "" {
			return "created", r.history.Created
		}
	case bus.Event:
		if at := r.last(bus.Delivery, base); !at.IsZero() {
			return "delivery", at
		}
	case bus.Outcome:
		for _, k := range []bus.Kind{bus.Event, bus.Delivery} {
			if at := r.last(k, base); !at.IsZero() {
				return string(k), at
			}
		}
	case bus.Closed:
		return "outcome", r.last(bus.Outcome, s.Run)
	case bus.Dead:
		return r.failedMessage(s, base)
	case bus.Resolution:
		return "dead_letter", r.deadLetterTime(s)
	}
	return "resolution", r.replayed(s.Subject)
}

// last returns the time of a run's last message of a kind, or zero.
func (r *reader) last(k bus.Kind, run string) time.Time {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		if s := r.Steps[i]; s.Kind == string(k) && s.Run == run {
			return s.At.AsTime()
		}
	}
	return time.Time{}
}

// failedMessage returns the kind and time of the message that a dead letter is about, which its stage determines.
func (r *reader) failedMessage(s *operatorv1.Step, run string) (string, time.Time) {
	kind := bus.Event
	switch {
	case s.GetDeadLetter() == nil:
		return "", time.Time{}
	case s.GetDeadLetter().Stage == request.Fetcher:
		kind = bus.Delivery
	case s.GetDeadLetter().Stage == request.StatusReporter:
		kind = bus.Outcome
	}
	return string(kind), r.last(kind, run)
}

// deadLetterTime returns the time of a resolution's dead letter, or zero.
func (r *reader) deadLetterTime(s *operatorv1.Step) time.Time {
	for _, l := range r.Steps {
		if d := l.GetDeadLetter(); d != nil && d.Id == s.GetResolution().GetDeadLetter() {
			return l.At.AsTime()
		}
	}
	return time.Time{}
}

// replayedBy returns the resolver who replayed a message on a subject, or "".
func (r *reader) replayedBy(subject string) string {
	for _, d := range r.Steps {
		if d := d.GetResolution(); d != nil && d.Replay == subject {
			return d.Who
		}
	}
	return ""
}

// replayed returns the time of the resolution that replayed a message on a subject, or zero.
func (r *reader) replayed(subject string) time.Time {
	for _, d := range r.Steps {
		if d.GetResolution() != nil && d.GetResolution().Replay == subject {
			return d.At.AsTime()
		}
	}
	return time.Time{}
}
