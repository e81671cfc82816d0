package request

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// State is the state of a dead letter.
type State string

// The states. A dead letter in StateUnresolved or StateInterrupted is unresolved.
const (
	StateUnresolved  State = "unresolved"  // it has no resolution
	StateInterrupted State = "interrupted" // its replay was recorded, but no message was published; replaying it again publishes the message
	StateReplayed    State = "replayed"    // its message was published again
	StateDiscarded   State = "discarded"   // a person discarded it, with a reason
)

// DeadLetter is a dead letter with its resolutions.
type DeadLetter struct {
	ID  uint64    // its sequence in the stream of dead letters
	At  time.Time // when the broker stored it
	Run string    // the run of its subject; "": the first
	*tiebackv1.DeadLetter
	Resolutions []*tiebackv1.Resolution // oldest first
	State       State
	eventType   string // of its subject
}

// Resolved reports whether the dead letter was replayed or discarded.
func (d DeadLetter) Resolved() bool { return d.State == StateReplayed || d.State == StateDiscarded }

// Category returns the category of the event type. For a delivery it is catalogue.Unknown.
func (d DeadLetter) Category() catalogue.Category {
	return bus.For(bus.Dead, d.Type, d.CompanyId, d.ErpRequestId).Category
}

// Cause returns the cause, one of Causes.
func (d DeadLetter) Cause() string { return CauseName(d.DeadLetter.GetCause()) }

// resolution returns the newest resolution, or nil if there is none.
func (d DeadLetter) resolution() *tiebackv1.Resolution {
	if len(d.Resolutions) == 0 {
		return nil
	}
	return d.Resolutions[len(d.Resolutions)-1]
}

// state returns the state that follows from the newest resolution. interrupted says that this resolution is a replay whose message
// was not published.
func (d DeadLetter) state(interrupted bool) State {
	switch r := d.resolution(); {
	case r == nil:
		return StateUnresolved
	case r.Action == tiebackv1.Action_ACTION_DISCARDED:
		return StateDiscarded
	case interrupted:
		return StateInterrupted
	}
	return StateReplayed
}

// replayOf returns the subject of the message that a resolution replayed. It returns false if r is nil or not a replay, or older
// than retention, so that the message may have expired. retention is how long the stream keeps the message; 0: no limit.
func replayOf(r *tiebackv1.Resolution, now time.Time, retention time.Duration) (bus.Subject, bool) {
	if r == nil || r.Action == tiebackv1.Action_ACTION_DISCARDED || retention > 0 && now.Sub(r.At.AsTime()) >= retention {
		return bus.Subject{}, false
	}
	s, err := bus.Parse(r.Subject)
	return s, err == nil
}

// ParseDeadLetter parses a message of the stream of dead letters. A message that was not written by a service
// becomes a dead letter without a subject, which can't be replayed.
func ParseDeadLetter(m bus.Message) DeadLetter {
	d := &tiebackv1.DeadLetter{}
	if err := proto.Unmarshal(m.Data, d); err != nil || d.Subject == "" {
		d = &tiebackv1.DeadLetter{
			Type: catalogue.Unknown, Stage: catalogue.Unknown, Message: m.Data, Stream: bus.Dead.Stream(), StreamSequence: m.Sequence,
			Error: fmt.Sprintf("the message on %s was not written by a service of Tieback", m.RawSubject), Cause: tiebackv1.Cause_CAUSE_TIEBACK,
		}
	}
	return DeadLetter{ID: m.Sequence, At: m.Stored, Run: m.Subject.Run, DeadLetter: d, State: StateUnresolved, eventType: m.Subject.Type}
}

// Causes are the causes of dead letters, in the order in which commands list them.
var Causes = []string{"company-data", "erp", "procore", "limits", "tieback", "unknown"}

// CauseName returns a cause as one of Causes. It is "unknown" for a dead letter from a version that stored no cause.
func CauseName(c tiebackv1.Cause) string {
	if c == tiebackv1.Cause_CAUSE_UNSPECIFIED {
		return "unknown"
	}
	return enumName(c.String(), "CAUSE_")
}

// ActionName returns the name of an action: replayed or discarded.
func ActionName(a tiebackv1.Action) string { return enumName(a.String(), "ACTION_") }

// ClassName returns the name of an error class.
func ClassName(c tiebackv1.ErrorClass) string { return enumName(c.String(), "ERROR_CLASS_") }

// StatusName returns the name of a close-out's status: in-progress, success or failed.
func StatusName(s tiebackv1.Status) string { return enumName(s.String(), "STATUS_") }

func enumName(name, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", "-")
}

// ResolutionText returns a predicate for a dead letter, such as `was discarded by ann at …`.
func ResolutionText(r *tiebackv1.Resolution) string {
	s := "was " + ActionName(r.Action)
	if r.Difference != "" {
		s = "was edited and replayed"
	}
	s += fmt.Sprintf(" by %s at %s", r.Who, r.At.AsTime().Format(time.RFC3339))
	if r.Reason != "" {
		s += fmt.Sprintf(" because %q", r.Reason)
	}
	return s
}
