package trace

import (
	"encoding/json"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Step is one message of the trace. Of Delivery, Event, Outcome, DeadLetter and Resolution, the one of its kind is set, or
// none if the message is malformed.
type Step struct {
	At         time.Time   `json:"at"`           // when the broker stored it
	Took       *float64    `json:"took_seconds"` // since the step in Since; null if that one is missing
	Since      string      `json:"since"`        // click, delivery, event, outcome, dead_letter, resolution, or "". A click has whole seconds of Procore's clock, so Took may be off
	Kind       string      `json:"kind"`         // delivery, event, outcome, closed, dead, resolution
	Run        string      `json:"run"`          // "" for the first; 42 for the replay of dead letter 42; late; swept
	By         string      `json:"by"`           // the stage that published it, or the resolver; "" if not recorded
	Text       string      `json:"text"`
	Subject    string      `json:"subject"`
	Sequence   uint64      `json:"sequence"`
	Delivery   *Delivery   `json:"delivery,omitempty"`
	Event      *Event      `json:"event,omitempty"`
	Outcome    *Outcome    `json:"outcome,omitempty"` // of kinds outcome and closed
	DeadLetter *DeadLetter `json:"dead_letter,omitempty"`
	Resolution *Resolution `json:"resolution,omitempty"`
}

// Delivery is Procore's webhook delivery.
type Delivery struct {
	EventID    string    `json:"event_id"` // "" if a sweep found it among the request details
	APIVersion string    `json:"api_version"`
	Project    int64     `json:"project"`     // 0: none
	User       int64     `json:"user"`        // 0: none
	OccurredAt time.Time `json:"occurred_at"` // Procore's clock
	ReceivedAt time.Time `json:"received_at"` // ours
}

// Event is the ERP request as fetched.
type Event struct {
	Bytes   int             `json:"bytes"`
	Payload json.RawMessage `json:"payload,omitempty"` // only with --payload; a JSON string if it is not JSON
}

// DeadLetter is a dead letter.
type DeadLetter struct {
	ID          uint64 `json:"id"`
	Stage       string `json:"stage"`
	Class       string `json:"class"`
	Cause       string `json:"cause"`
	Attempts    int32  `json:"attempts"`
	Error       string `json:"error"`
	UserMessage string `json:"user_message"` // for the accountant; may be ""
}

// Resolution describes how a person resolved a dead letter.
type Resolution struct {
	DeadLetter uint64 `json:"dead_letter"`
	Action     string `json:"action"` // replayed, discarded
	Who        string `json:"who"`    // as given to the command; not checked
	Reason     string `json:"reason,omitempty"`
	Replay     string `json:"replay,omitempty"` // the subject of the replay
	Edited     bool   `json:"edited"`
	Difference string `json:"difference,omitempty"` // only with --payload
}

// steps fills the trace's steps from the history.
func (r *reader) steps(history []request.Step) {
	for _, h := range history {
		s := Step{At: h.At.UTC(), Kind: string(h.Kind), Run: h.Run, By: h.By(), Text: h.Text(), Subject: h.Subject, Sequence: h.Sequence}
		switch m := h.Message.(type) {
		case *tiebackv1.Delivery:
			r.delivery(&s, m)
		case *tiebackv1.Event:
			s.Event = r.event(m)
		case *tiebackv1.Outcome:
			s.Outcome = outcomeOf(m)
		case *tiebackv1.DeadLetter:
			s.DeadLetter = deadLetterOf(h.Sequence, m)
		case *tiebackv1.Resolution:
			s.Resolution = r.resolution(m)
		}
		if who := r.replayedBy(s.Subject); who != "" {
			s.By, s.Text = who, "replayed: "+s.Text
		}
		r.since(&s)
		r.Steps = append(r.Steps, s)
	}
}

func (r *reader) delivery(s *Step, d *tiebackv1.Delivery) {
	s.Delivery = &Delivery{
		EventID: d.EventId, APIVersion: d.ApiVersion, Project: d.ProjectId, User: d.UserId,
		OccurredAt: moment(d.GetOccurredAt()), ReceivedAt: moment(d.GetReceivedAt()),
	}
	if d.EventId == "" {
		s.By, s.Text = "sweep", "a sweep found it among Procore's open request details"
	}
}

// moment converts a time. An invalid one, which JSON can't represent, is zero.
func moment(t *timestamppb.Timestamp) time.Time {
	if !t.IsValid() {
		return time.Time{}
	}
	return t.AsTime()
}

func (r *reader) event(e *tiebackv1.Event) *Event {
	out := &Event{Bytes: len(e.Payload)}
	if !r.Payload {
		return out
	}
	if out.Payload = e.Payload; !json.Valid(e.Payload) {
		out.Payload, _ = json.Marshal(string(e.Payload)) // a string can be marshalled
	}
	return out
}

func deadLetterOf(id uint64, d *tiebackv1.DeadLetter) *DeadLetter {
	return &DeadLetter{
		ID: id, Stage: d.Stage, Class: request.ClassName(d.Class), Cause: request.CauseName(d.Cause),
		Attempts: d.Attempts, Error: d.Error, UserMessage: d.UserMessage,
	}
}

func (r *reader) resolution(d *tiebackv1.Resolution) *Resolution {
	out := &Resolution{
		DeadLetter: d.DeadLetter, Action: request.ActionName(d.Action), Who: d.Who, Reason: d.Reason, Replay: d.Subject, Edited: d.Difference != "",
	}
	if r.Payload {
		out.Difference = d.Difference
	}
	return out
}
