package trace

import (
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
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
func (r *reader) since(s *Step) {
	what, at := r.previous(s)
	if at.IsZero() {
		return
	}
	took := max(0, s.At.Sub(at)).Seconds() // Procore's clock and ours differ
	s.Since, s.Took = what, &took
}

func (r *reader) previous(s *Step) (string, time.Time) {
	base := bus.Subject{Run: s.Run}.OfEvent().Run
	switch bus.Kind(s.Kind) {
	case bus.Delivery:
		if s.Run == "" && r.Clicked != nil {
			return "click", *r.Clicked
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
			return s.At
		}
	}
	return time.Time{}
}

// failedMessage returns the kind and time of the message that a dead letter is about, which its stage determines.
func (r *reader) failedMessage(s *Step, run string) (string, time.Time) {
	kind := bus.Event
	switch {
	case s.DeadLetter == nil:
		return "", time.Time{}
	case s.DeadLetter.Stage == request.Fetcher:
		kind = bus.Delivery
	case s.DeadLetter.Stage == request.StatusReporter:
		kind = bus.Outcome
	}
	return string(kind), r.last(kind, run)
}

// deadLetterTime returns the time of a resolution's dead letter, or zero.
func (r *reader) deadLetterTime(s *Step) time.Time {
	for _, l := range r.Steps {
		if s.Resolution != nil && l.DeadLetter != nil && l.DeadLetter.ID == s.Resolution.DeadLetter {
			return l.At
		}
	}
	return time.Time{}
}

// replayedBy returns the resolver who replayed a message on a subject, or "".
func (r *reader) replayedBy(subject string) string {
	for _, d := range r.Steps {
		if d.Resolution != nil && d.Resolution.Replay == subject {
			return d.Resolution.Who
		}
	}
	return ""
}

// replayed returns the time of the resolution that replayed a message on a subject, or zero.
func (r *reader) replayed(subject string) time.Time {
	for _, d := range r.Steps {
		if d.Resolution != nil && d.Resolution.Replay == subject {
			return d.At
		}
	}
	return time.Time{}
}
