package request

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Limits are how long a stage may take to finish a message. A limit of 0 is none.
type Limits struct {
	Interactive time.Duration // a user waits
	Sync        time.Duration // events of the category sync, which page through the ERP
}

// For returns the limit of a category's events.
func (l Limits) For(c catalogue.Category) time.Duration {
	if c == catalogue.Sync {
		return l.Sync
	}
	return l.Interactive
}

// Due returns the time by which a stage should have finished a message, counted from when the broker stored it. It
// returns false for a message without such a time.
//
//	delivery  the interactive limit, whatever its type: the fetcher does not page through the ERP
//	event     the limit of its category. The status-reporter then closes it as failed. An event whose payload names no
//	          request detail has no due time: no user waits, and the worker goes on trying
//	outcome   the interactive limit, likewise
//
// A message that does not parse is due like any other: its stage dead-letters it.
func (l Limits) Due(m bus.Message) (time.Time, bool) {
	kind := m.Subject.Kind
	if m.Subject == (bus.Subject{}) {
		kind = kindOf(m.Stream)
	}
	return l.due(kind, m.Subject.Category, m.Stored, kind != bus.Event || awaited(m.Data))
}

// due is Due of the parts of a message. It is the only place that adds a limit to a time.
func (l Limits) due(k bus.Kind, c catalogue.Category, stored time.Time, awaited bool) (time.Time, bool) {
	limit := l.Interactive
	if k == bus.Event {
		limit = l.For(c)
	}
	if !awaited || limit <= 0 {
		return time.Time{}, false
	}
	return stored.Add(limit), true
}

// awaited reports whether a user waits for an event: its payload names a request detail, or it does not parse.
func awaited(event []byte) bool {
	e := &tiebackv1.Event{}
	return proto.Unmarshal(event, e) != nil || len(procore.RequestDetails(e.Payload)) > 0
}

// slack is how long after its due time a message counts as overdue: the status-reporter takes a moment to close it.
const slack = time.Minute

// Overdue reports whether a stage has a message for longer than it should, by more than the status-reporter may take
// to close it.
func (l Limits) Overdue(m bus.Message, now time.Time) bool {
	if now.Sub(m.Stored) <= min(l.Interactive, l.Sync)+slack {
		return false // without a look at its payload
	}
	due, _ := l.Due(m)
	return overdue(due, now)
}

// overdue is Overdue of a due time; zero: there is none.
func overdue(due, now time.Time) bool { return !due.IsZero() && now.Sub(due) > slack }
