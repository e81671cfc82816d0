package request

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Limits are the longest times that a stage may take to finish a message; 0: no limit.
type Limits struct {
	Interactive time.Duration // a user waits
	Sync        time.Duration // events of the category sync, which read long lists of the ERP
}

// For returns the limit of a category's events.
func (l Limits) For(c catalogue.Category) time.Duration {
	if c == catalogue.Sync {
		return l.Sync
	}
	return l.Interactive
}

// Due returns the time by which a stage should have finished a message, counted from when the broker stored it. It returns
// false for a message without a due time.
//
//	delivery  the interactive limit, whatever its type
//	event     the limit of its category, after which the status-reporter closes it as failed. An event whose payload names
//	          no request detail has no due time: no user waits, and the worker retries without limit
//	outcome   the interactive limit, whatever its type
//
// A malformed message is due like any other: its stage dead-letters it.
func (l Limits) Due(m bus.Message) (time.Time, bool) {
	kind := m.Subject.Kind
	if m.Subject == (bus.Subject{}) {
		kind = kindOf(m.Stream)
	}
	return l.due(kind, m.Subject.Category, m.Stored, kind != bus.Event || awaited(m.Data))
}

// due implements Due. It is the only place that adds a limit to a time.
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

// awaited reports whether a user waits for an event: its payload names a request detail, or it is malformed.
func awaited(event []byte) bool {
	e := &tiebackv1.Event{}
	return proto.Unmarshal(event, e) != nil || len(procore.RequestDetails(e.Payload)) > 0
}

// grace is how long after its due time a message counts as overdue, because the status-reporter takes a moment to close it.
const grace = time.Minute

// Overdue reports whether a message is past its due time by more than a minute, in which the status-reporter should have
// closed it.
func (l Limits) Overdue(m bus.Message, now time.Time) bool {
	if now.Sub(m.Stored) <= min(l.Interactive, l.Sync)+grace {
		return false // the payload need not be parsed
	}
	due, _ := l.Due(m)
	return overdue(due, now)
}

// overdue implements Overdue. The zero time is no due time.
func overdue(due, now time.Time) bool { return !due.IsZero() && now.Sub(due) > grace }
