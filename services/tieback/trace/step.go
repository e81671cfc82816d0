package trace

import (
	"encoding/json"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Step is one message of the story. Of Delivery, Event, Told, Letter and Dealing it has the one of
// its kind; none where the message does not parse.
type Step struct {
	At       time.Time `json:"at"`           // when the broker took it
	Took     *float64  `json:"took_seconds"` // since the message that it answers, see Since; null: that one is not there
	Since    string    `json:"since"`        // what Took is counted from: click (two clocks, and too much by up to a second, as it has whole ones), delivery, event, outcome, letter, dealing; "": nothing
	Kind     string    `json:"kind"`         // delivery, event, outcome, closed, dead, resolution
	Run      string    `json:"run"`          // "": the first; 42: the replay of dead letter 42; late; swept
	By       string    `json:"by"`           // the stop that wrote it, or the person; "": not recorded
	What     string    `json:"what"`
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"sequence"`
	Delivery *Delivery `json:"delivery,omitempty"`
	Event    *Event    `json:"event,omitempty"`
	Told     *Told     `json:"told,omitempty"` // of an outcome what is to be told; of a closed message what was
	Letter   *Letter   `json:"letter,omitempty"`
	Dealing  *Dealing  `json:"dealing,omitempty"`
}

// Delivery is how Procore told of the click.
type Delivery struct {
	EventID    string    `json:"event_id"` // "": found by a sweep among the request details, not delivered
	APIVersion string    `json:"api_version"`
	Project    int64     `json:"project"`     // 0: none
	User       int64     `json:"user"`        // 0: none
	OccurredAt time.Time `json:"occurred_at"` // Procore's clock
	ReceivedAt time.Time `json:"received_at"` // ours
}

// Event is the ERP request as fetched.
type Event struct {
	Bytes   int             `json:"bytes"`
	Payload json.RawMessage `json:"payload,omitempty"` // only where asked for; a JSON string where it is no JSON
}

// Letter is a dead letter.
type Letter struct {
	ID       uint64 `json:"id"`
	Stop     string `json:"stop"`
	Class    string `json:"class"`
	Cause    string `json:"cause"`
	Attempts int32  `json:"attempts"`
	Error    string `json:"error"`
	Sentence string `json:"sentence"` // what the accountant is told; "": nothing of its own
}

// Dealing is what a person did with a dead letter.
type Dealing struct {
	Letter     uint64 `json:"letter"`
	Action     string `json:"action"` // replayed, discarded
	Who        string `json:"who"`    // as the command was told; nobody checks it
	Reason     string `json:"reason,omitempty"`
	Replay     string `json:"replay,omitempty"` // the subject that it was sent on
	Edited     bool   `json:"edited"`
	Difference string `json:"difference,omitempty"` // only where payloads are asked for
}

// steps makes the story's steps of the history.
func (r *reading) steps(history []request.Step) {
	for _, h := range history {
		s := Step{At: h.At.UTC(), Kind: string(h.Kind), Run: h.Run, By: h.By(), What: h.Text(), Subject: h.Subject, Sequence: h.Sequence}
		switch m := h.Message.(type) {
		case *tiebackv1.Delivery:
			r.delivery(&s, m)
		case *tiebackv1.Event:
			s.Event = r.event(m)
		case *tiebackv1.Outcome:
			s.Told = toldOf(m)
		case *tiebackv1.DeadLetter:
			s.Letter = letterOf(h.Sequence, m)
		case *tiebackv1.Resolution:
			s.Dealing = r.dealing(m)
		}
		if who := r.whose(s.Subject); who != "" {
			s.By, s.What = who, "replayed: "+s.What
		}
		r.since(&s)
		r.Steps = append(r.Steps, s)
	}
}

func (r *reading) delivery(s *Step, d *tiebackv1.Delivery) {
	s.Delivery = &Delivery{
		EventID: d.EventId, APIVersion: d.ApiVersion, Project: d.ProjectId, User: d.UserId,
		OccurredAt: moment(d.GetOccurredAt()), ReceivedAt: moment(d.GetReceivedAt()),
	}
	if d.EventId == "" {
		s.By, s.What = "sweep", "a sweep found it among Procore's open request details and brought it in"
	}
}

// moment is a time as a message tells it; zero: it tells none, or one that JSON can't hold.
func moment(t *timestamppb.Timestamp) time.Time {
	if !t.IsValid() {
		return time.Time{}
	}
	return t.AsTime()
}

func (r *reading) event(e *tiebackv1.Event) *Event {
	out := &Event{Bytes: len(e.Payload)}
	if !r.Payload {
		return out
	}
	if out.Payload = e.Payload; !json.Valid(e.Payload) {
		out.Payload, _ = json.Marshal(string(e.Payload)) // a string can be marshalled
	}
	return out
}

func letterOf(id uint64, d *tiebackv1.DeadLetter) *Letter {
	return &Letter{
		ID: id, Stop: d.Stage, Class: request.ClassName(d.Class), Cause: request.CauseName(d.Cause),
		Attempts: d.Attempts, Error: d.Error, Sentence: d.UserMessage,
	}
}

func (r *reading) dealing(d *tiebackv1.Resolution) *Dealing {
	out := &Dealing{
		Letter: d.DeadLetter, Action: request.ActionName(d.Action), Who: d.Who, Reason: d.Reason, Replay: d.Subject, Edited: d.Difference != "",
	}
	if r.Payload {
		out.Difference = d.Difference
	}
	return out
}
