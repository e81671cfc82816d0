// Package deadletters is where people work off what the pipeline could not do: letters are
// listed, shown with their event's history, replayed as they are or edited, and discarded.
//
//	a letter is  it has                                      what can be done with it
//	open         no dealing                                  replay, edit, discard
//	cut off      a dealing "replayed" that was never sent    replay: sends what was claimed
//	replayed     a dealing "replayed", and its message sent  replay or edit again
//	discarded    a dealing "discarded", with the reason      replay or edit again
//
// A dealing is a message of kind dealt, written Once under the letter's sequence: of two people
// who deal with one letter, one has it and the other is told who and when. It is written before
// the replay is sent, and the replay is sent Once as well, so that a crash between the two is
// mended by doing it again. What is dealt with again gets a further subject, 42-2 after 42.
//
// A replay is the letter's message on its own subject, in a run of its own. It goes through the
// same stops and the same guards as any message: its key is the old one, so what was booked is
// not booked twice, and the ERP refuses what a newer request has overtaken. Should it fail for good
// again, that is a new letter.
//
// Who deals is whoever the caller says. Nobody checks it: services have no users.
package deadletters

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Desk is where one person works. All its methods may be called concurrently.
type Desk struct {
	Bus *bus.Bus
	Who string // who deals; kept with each dealing
}

// State says what became of a letter; see the package comment.
type State string

// The states, as they are shown.
const (
	Open      State = "open"
	CutOff    State = "cut off"
	Replayed  State = "replayed"
	Discarded State = "discarded"
)

// Letter is a dead letter and what was done with it.
type Letter struct {
	ID                    uint64    // its sequence in the stream of dead letters
	At                    time.Time // when the broker took it
	*tiebackv1.DeadLetter           // List leaves its message out
	Dealings              []*tiebackv1.Dealing
	State                 State
}

// Done says whether nothing is left to do.
func (l Letter) Done() bool { return l.State == Replayed || l.State == Discarded }

// Category is the category of the letter's event type; "_": unknown, as of every delivery.
func (l Letter) Category() catalogue.Category { return l.place().Category }

// Cause names the letter's cause in one word; see CauseName.
func (l Letter) Cause() string { return CauseName(l.DeadLetter.GetCause()) }

// place is the letter's own subject, without its run.
func (l Letter) place() bus.Subject {
	return bus.For(bus.Dead, l.Type, l.CompanyId, l.ErpRequestId)
}

// last is what was done with the letter most recently; nil: nothing.
func (l Letter) last() *tiebackv1.Dealing {
	if len(l.Dealings) == 0 {
		return nil
	}
	return l.Dealings[len(l.Dealings)-1]
}

// Causes are the words for a letter's cause, in the order in which they are summed up.
var Causes = []string{"tenant-data", "erp", "procore", "limits", "ours", "unknown"}

// CauseName is a cause in a word of Causes; unknown are the letters of versions before causes.
func CauseName(c tiebackv1.Cause) string {
	if c == tiebackv1.Cause_CAUSE_UNSPECIFIED {
		return "unknown"
	}
	return word(c.String(), "CAUSE_")
}

// ActionName is what was done, in a word: replayed or discarded.
func ActionName(a tiebackv1.Action) string { return word(a.String(), "ACTION_") }

// ClassName is an error class in a word.
func ClassName(c tiebackv1.ErrorClass) string { return word(c.String(), "ERROR_CLASS_") }

func word(name, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", "-")
}

// read makes a letter of a message in the stream of dead letters. What no service of ours
// wrote there is a letter as well, without a subject to replay it on.
func read(id uint64, at time.Time, subject string, data []byte) Letter {
	d := &tiebackv1.DeadLetter{}
	if err := proto.Unmarshal(data, d); err != nil || d.Subject == "" {
		d = &tiebackv1.DeadLetter{
			Type: catalogue.Unknown, Stop: catalogue.Unknown, Message: data, Stream: bus.Dead.Stream(), StreamSequence: id,
			Error: fmt.Sprintf("no service of Tieback wrote this letter, found on %s", subject), Cause: tiebackv1.Cause_CAUSE_OURS,
		}
	}
	return Letter{ID: id, At: at, DeadLetter: d, State: Open}
}
