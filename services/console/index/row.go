package index

import (
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/request"
)

// State says in one word what a request needs. It is derived from package request's Class.
type State string

// The states.
const (
	StateAttention State = "attention" // a person has to do something: overdue, unclosed, lost, or a dead letter is open
	StateFailed    State = "failed"    // reported to Procore as failed
	StateOpen      State = "open"      // at a stage, and not overdue
	StateOK        State = "ok"        // done
	StateIgnored   State = "ignored"   // not processed: created before the company's since, called off, or discarded
)

// States are all states, in the order of FailedFirst.
var States = []State{StateAttention, StateFailed, StateOpen, StateOK, StateIgnored}

// stateOf returns the index of the state; -1 if the messages do not make a request, such as a resolution alone.
func stateOf(t *request.Timeline, v request.Verdict) int {
	s := StateOK
	switch {
	case t.Empty():
		return -1
	case v.Class.NeedsAction(), t.OpenDeadLetter() != nil:
		s = StateAttention
	case v.Class == request.Failed, v.Class == request.Dead:
		s = StateFailed
	case v.Class == request.InProgress:
		s = StateOpen
	case v.Class == request.Older, v.Class == request.CalledOff, v.Class == request.Discarded:
		s = StateIgnored
	}
	return slices.Index(States, s)
}

// Row is a request as lists show it.
type Row struct {
	Company, Request int64
	Type             string // catalogue.Unknown if no message says it
	Category         catalogue.Category
	Record           string    // what it is about, such as: vendor "Acme"; "": not known
	Amount           string    // decimal; "": none
	Created          time.Time // the click, by Procore's clock; zero: not known
	Arrived          time.Time // when its first message was stored, to 10 µs
	Updated          time.Time // when its newest message was stored
	Closed           time.Time // when its end was last reported to Procore; zero: it was not
	State            State
	Class            request.Class
	Stage            string    // that has it; "": none
	WaitingFor       string    // what that stage works with: Procore, or the ERP; "": no stage has it
	Due              time.Time // when the stage should have finished; zero: it has no such time
	Why              string    // the reason, as package request words it; "": none
	Ended            string    // how it ended, likewise; "": it has not
	DeadLetter       uint64    // the newest that is unresolved; 0: none
}

// Entry is a request with all that the index has of it.
type Entry struct {
	Row
	Timeline *request.Timeline
	Messages []bus.Message // as request.Messages returns them, without payloads; see the package documentation
}

func (x *Index) row(e *entry, now time.Time) (Row, *request.Timeline) {
	t, v := x.verdict(e, now)
	r := Row{
		Company: e.company, Request: e.request, Type: t.Type, Category: bus.For(bus.Event, t.Type, 0, 0).Category,
		Record: e.record, Amount: e.amount, Created: t.Created, Arrived: timeOf(e.id),
		Class: v.Class, Stage: v.At.Name, Due: v.Due, Why: v.Why, Ended: v.EndText,
	}
	if n := stateOf(t, v); n >= 0 {
		r.State = States[n]
	}
	if d := t.OpenDeadLetter(); d != nil {
		r.DeadLetter = d.ID
	}
	for _, m := range e.messages {
		if m.at.After(r.Updated) {
			r.Updated = m.at
		}
	}
	if last := t.Last(); last != nil && last.SkipReason == "" {
		r.Closed = last.At
		if len(last.CloseOuts) > 0 && r.Record == "" {
			r.Record = last.CloseOuts[0].Record
		}
	}
	switch {
	case v.At.Name == "":
	case v.At.Kind == bus.Event:
		r.WaitingFor = "ERP"
	default:
		r.WaitingFor = "Procore"
	}
	return r, t
}
