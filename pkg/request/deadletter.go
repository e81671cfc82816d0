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

// State says what was done about a dead letter.
type State string

// The states, as they are shown. A dead letter that is StateOpen or StateInterrupted needs a person.
const (
	StateOpen        State = "open"        // nothing
	StateInterrupted State = "interrupted" // a replay was decided, and its message was never published; a further replay resumes it
	StateReplayed    State = "replayed"    // its message was published again
	StateDiscarded   State = "discarded"   // a person closed it, with a reason
)

// DeadLetter is a dead letter and what was done about it.
type DeadLetter struct {
	ID  uint64    // its sequence in the stream of dead letters
	At  time.Time // when the broker stored it
	Run string    // of its subject; "": the first run
	*tiebackv1.DeadLetter
	Resolutions []*tiebackv1.Resolution // the oldest first
	State       State
}

// Done reports whether the dead letter needs nobody.
func (d DeadLetter) Done() bool { return d.State == StateReplayed || d.State == StateDiscarded }

// Category is the category of the event type; catalogue.Unknown for every delivery.
func (d DeadLetter) Category() catalogue.Category {
	return bus.For(bus.Dead, d.Type, d.CompanyId, d.ErpRequestId).Category
}

// Cause names the cause in a word of Causes.
func (d DeadLetter) Cause() string { return CauseName(d.DeadLetter.GetCause()) }

// resolution is the newest resolution; nil: there is none.
func (d DeadLetter) resolution() *tiebackv1.Resolution {
	if len(d.Resolutions) == 0 {
		return nil
	}
	return d.Resolutions[len(d.Resolutions)-1]
}

// state is the state by the newest resolution. kept is how long the streams keep what is replayed, 0 for ever: an older
// replay counts as published. published reports whether a replay's subject has its message.
func (d DeadLetter) state(now time.Time, kept time.Duration, published func(bus.Subject) bool) State {
	r := d.resolution()
	switch s, checkable := replayOf(r, now, kept); {
	case r == nil:
		return StateOpen
	case r.Action == tiebackv1.Action_ACTION_DISCARDED:
		return StateDiscarded
	case checkable && !published(s):
		return StateInterrupted
	}
	return StateReplayed
}

// replayOf returns the subject of a resolution's replay; false: it is none, or one so old that its message may be gone.
func replayOf(r *tiebackv1.Resolution, now time.Time, kept time.Duration) (bus.Subject, bool) {
	if r == nil || r.Action == tiebackv1.Action_ACTION_DISCARDED || kept > 0 && now.Sub(r.At.AsTime()) >= kept {
		return bus.Subject{}, false
	}
	s, err := bus.Parse(r.Subject)
	return s, err == nil
}

// ParseDeadLetter makes a dead letter of a message in the stream of dead letters. A message that no service of ours
// wrote is a dead letter as well, without a subject to replay it on.
func ParseDeadLetter(m bus.Message) DeadLetter {
	d := &tiebackv1.DeadLetter{}
	if err := proto.Unmarshal(m.Data, d); err != nil || d.Subject == "" {
		d = &tiebackv1.DeadLetter{
			Type: catalogue.Unknown, Stage: catalogue.Unknown, Message: m.Data, Stream: bus.Dead.Stream(), StreamSequence: m.Sequence,
			Error: fmt.Sprintf("no service of Tieback wrote this letter, found on %s", m.Raw), Cause: tiebackv1.Cause_CAUSE_OURS,
		}
	}
	return DeadLetter{ID: m.Sequence, At: m.Stored, Run: m.Subject.Run, DeadLetter: d, State: StateOpen}
}

// Causes are the words for a dead letter's cause, in the order in which they are summed up.
var Causes = []string{"tenant-data", "erp", "procore", "limits", "ours", "unknown"}

// CauseName is a cause in a word of Causes; unknown are the dead letters of versions before causes.
func CauseName(c tiebackv1.Cause) string {
	if c == tiebackv1.Cause_CAUSE_UNSPECIFIED {
		return "unknown"
	}
	return word(c.String(), "CAUSE_")
}

// ActionName is an action in a word: replayed or discarded.
func ActionName(a tiebackv1.Action) string { return word(a.String(), "ACTION_") }

// ClassName is an error class in a word.
func ClassName(c tiebackv1.ErrorClass) string { return word(c.String(), "ERROR_CLASS_") }

// StatusName is a close-out's status in a word: in-progress, success or failed.
func StatusName(s tiebackv1.Status) string { return word(s.String(), "STATUS_") }

func word(name, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", "-")
}

// ResolutionText says in words what was done about a dead letter, to follow its name.
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
