package request

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Deadlines are the longest times that a stage may take to finish a message, from when the broker stored it. A zero field means no
// deadline.
type Deadlines struct {
	Interactive time.Duration // for messages that a user waits for
	Sync        time.Duration // for events of the category sync, which read long lists from the ERP
}

// For returns the longest time for the events of a category.
func (d Deadlines) For(c catalogue.Category) time.Duration {
	if c == catalogue.Sync {
		return d.Sync
	}
	return d.Interactive
}

// Due returns the deadline of a message, or false for a message without one.
//
//	delivery, outcome  Interactive after it was stored. When the deadline passes, the message is shown as overdue; nothing
//	                   closes it
//	event              For(its category) after it was stored. When the deadline passes, the status-reporter closes the event
//	                   as failed. An event whose payload names no request detail has no deadline, because no user waits
//	                   for it; a worker that keeps failing gives up on it as bus.Consumer describes
//
// A malformed message has a deadline like any other.
func (d Deadlines) Due(m bus.Message) (time.Time, bool) {
	kind := m.Subject.Kind
	if m.Subject == (bus.Subject{}) {
		kind = kindOf(m.Stream)
	}
	return d.due(kind, m.Subject.Category, m.Stored, kind != bus.Event || userWaits(m.Data))
}

// due implements Due. No other code computes a deadline. Workers stop retrying at the same age; see bus.Consumer.RetryFor.
func (d Deadlines) due(k bus.Kind, c catalogue.Category, stored time.Time, userWaits bool) (time.Time, bool) {
	longest := d.Interactive
	if k == bus.Event {
		longest = d.For(c)
	}
	if !userWaits || longest <= 0 {
		return time.Time{}, false
	}
	return stored.Add(longest), true
}

// userWaits reports whether a user may wait for an event, because its payload names a request detail or the event is malformed.
func userWaits(event []byte) bool {
	e := &tiebackv1.Event{}
	return proto.Unmarshal(event, e) != nil || len(procore.RequestDetails(e.Payload)) > 0
}

// grace is how long after the deadline of an event the status-reporter may take to close it.
const grace = time.Minute

// Overdue reports whether the deadline of a message passed more than a minute ago.
func (d Deadlines) Overdue(m bus.Message, now time.Time) bool {
	if now.Sub(m.Stored) <= min(d.Interactive, d.Sync)+grace {
		return false // without parsing the payload
	}
	due, _ := d.Due(m)
	return overdue(due, now)
}

// overdue implements Overdue; due is zero if there is no deadline.
func overdue(due, now time.Time) bool { return !due.IsZero() && now.Sub(due) > grace }
