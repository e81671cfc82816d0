package trace

import (
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
)

// since notes how long a step took: since the message that it answers.
//
//	step                 answers
//	delivery             the click
//	event                the delivery of its run, or the dealing that replayed it
//	outcome              the event of its run, or the delivery of one that could not be fetched, or the dealing
//	closed               the outcome of its run
//	dead letter          the message that died: outcome, event or delivery of its run
//	dealing              its letter
func (r *reading) since(s *Step) {
	what, at := r.answers(s)
	if at.IsZero() {
		return
	}
	took := max(0, s.At.Sub(at)).Seconds() // Procore's clock and ours differ
	s.Since, s.Took = what, &took
}

func (r *reading) answers(s *Step) (string, time.Time) {
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
		return r.died(s, base)
	case bus.Resolution:
		return "letter", r.letter(s)
	}
	return "dealing", r.replayed(s.Subject)
}

// last is when a run's message of a kind came; zero: it did not.
func (r *reading) last(k bus.Kind, run string) time.Time {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		if s := r.Steps[i]; s.Kind == string(k) && s.Run == run {
			return s.At
		}
	}
	return time.Time{}
}

// died is the message that a letter is about, by the stop that gave it up.
func (r *reading) died(s *Step, run string) (string, time.Time) {
	kind := bus.Event
	switch {
	case s.Letter == nil:
		return "", time.Time{}
	case s.Letter.Stop == request.Fetcher:
		kind = bus.Delivery
	case s.Letter.Stop == request.StatusReporter:
		kind = bus.Outcome
	}
	return string(kind), r.last(kind, run)
}

// letter is when the letter of a dealing was written.
func (r *reading) letter(s *Step) time.Time {
	for _, l := range r.Steps {
		if s.Dealing != nil && l.Letter != nil && l.Letter.ID == s.Dealing.Letter {
			return l.At
		}
	}
	return time.Time{}
}

// whose is who had a message replayed on a subject; "": nobody had.
func (r *reading) whose(subject string) string {
	for _, d := range r.Steps {
		if d.Dealing != nil && d.Dealing.Replay == subject {
			return d.Dealing.Who
		}
	}
	return ""
}

// replayed is when somebody had a message replayed on a subject.
func (r *reading) replayed(subject string) time.Time {
	for _, d := range r.Steps {
		if d.Dealing != nil && d.Dealing.Replay == subject {
			return d.At
		}
	}
	return time.Time{}
}
