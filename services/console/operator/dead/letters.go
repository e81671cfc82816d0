package dead

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Letters is a list of dead letters.
type Letters struct {
	DeadLetters []Letter       `json:"dead_letters"` // oldest first
	Causes      map[string]int `json:"causes"`       // the number of dead letters by cause; every cause is a key
	Total       int            `json:"total"`
}

// Letter is a dead letter without its message.
type Letter struct {
	ID          uint64             `json:"id"` // its sequence in the stream
	At          time.Time          `json:"at"`
	State       request.State      `json:"state"`
	Company     int64              `json:"company_id"`
	Request     int64              `json:"request_id"`
	Type        string             `json:"type"`
	Category    string             `json:"category"`
	Stage       string             `json:"stage"`
	Class       string             `json:"class"`
	Cause       string             `json:"cause"`
	Attempts    int32              `json:"attempts"`
	Error       string             `json:"error"`
	UserMessage string             `json:"user_message"` // for the accountant
	Subject     string             `json:"subject"`
	Resolutions []StoredResolution `json:"resolutions"` // oldest first
}

// StoredResolution is a resolution in the stream.
type StoredResolution struct {
	Action     string    `json:"action"` // replayed, discarded
	Who        string    `json:"who"`
	At         time.Time `json:"at"`
	Reason     string    `json:"reason,omitempty"`
	Subject    string    `json:"subject,omitempty"`    // of the replay
	Difference string    `json:"difference,omitempty"` // of an edit
	Text       string    `json:"text"`                 // in words, to follow the name of the dead letter
}

// List returns the dead letters that the filter selects.
func List(ctx context.Context, b *bus.Bus, f request.Filter) (Letters, error) {
	all, err := request.DeadLetters(ctx, b, f)
	l := Letters{DeadLetters: []Letter{}, Causes: map[string]int{}, Total: len(all)}
	for _, c := range request.Causes {
		l.Causes[c] = 0
	}
	for _, d := range all {
		l.Causes[d.Cause()]++
		l.DeadLetters = append(l.DeadLetters, letterOf(d))
	}
	return l, err
}

func letterOf(d request.DeadLetter) Letter {
	l := Letter{
		ID: d.ID, At: d.At.UTC(), State: d.State, Company: d.CompanyId, Request: d.ErpRequestId, Type: d.Type, Category: string(d.Category()),
		Stage: d.Stage, Class: request.ClassName(d.Class), Cause: d.Cause(), Attempts: d.Attempts, Error: d.Error, UserMessage: d.UserMessage, Subject: d.Subject,
		Resolutions: []StoredResolution{},
	}
	for _, r := range d.Resolutions {
		l.Resolutions = append(l.Resolutions, Stored(r))
	}
	return l
}

// Stored converts a resolution.
func Stored(r *tiebackv1.Resolution) StoredResolution {
	s := StoredResolution{
		Action: request.ActionName(r.Action), Who: r.Who, Reason: r.Reason, Subject: r.Subject, Difference: r.Difference, Text: request.ResolutionText(r),
	}
	if r.At.IsValid() { // JSON can't represent an invalid time
		s.At = r.At.AsTime()
	}
	return s
}

// Detail is a dead letter with its message and the history of its request.
type Detail struct {
	Letter
	Stream         string                `json:"stream"`          // of the failed message
	StreamSequence uint64                `json:"stream_sequence"` // of the failed message
	Message        json.RawMessage       `json:"message"`         // an event's payload, or the fields of another message; null if it is malformed
	Text           string                `json:"message_text"`    // the same for people; a quoted string if it is malformed
	Replayable     bool                  `json:"replayable"`      // unchanged
	Why            string                `json:"why,omitempty"`   // why it can't be replayed unchanged
	Reported       request.FailureReport `json:"reported_to_accountant"`
	Messages       []string              `json:"reported_messages"` // that Procore shows, or will show
	History        []HistoryStep         `json:"history"`           // of the request, oldest first
	Runs           []Run                 `json:"runs"`
}

// HistoryStep is a message of the request.
type HistoryStep struct {
	At       time.Time `json:"at"`
	Kind     bus.Kind  `json:"kind"`
	Run      string    `json:"run"` // "" for the first
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"sequence"`
	Text     string    `json:"text"`
}

// Run is the current state of one run of the request.
type Run struct {
	Run  string    `json:"run"`
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Show returns a dead letter. Errors: request.ErrNoDeadLetter, or the broker's.
func Show(ctx context.Context, b *bus.Bus, id uint64) (Detail, error) {
	d, err := request.ReadDeadLetter(ctx, b, id)
	if err != nil {
		return Detail{}, err
	}
	messages, unread := request.Messages(ctx, b, d.CompanyId, d.ErpRequestId)
	if err := errors.Join(slices.Collect(maps.Values(unread))...); err != nil {
		return Detail{}, err
	}
	out := Detail{Letter: letterOf(d), Stream: d.Stream, StreamSequence: d.StreamSequence, Messages: []string{}, History: []HistoryStep{}, Runs: []Run{}}
	text, why := (&Resolver{Bus: b}).Text(ctx, d)
	if out.Text, out.Replayable = text, why == nil; why != nil {
		out.Why = why.Error()
	}
	if json.Valid([]byte(text)) && text[0] != '"' {
		out.Message = json.RawMessage(text)
	}
	steps := request.Steps(messages)
	reported, shown := request.FailureReportOf(d, steps)
	out.Reported, out.Messages = reported, append(out.Messages, shown...)
	for _, s := range steps {
		out.History = append(out.History, HistoryStep{At: s.At.UTC(), Kind: s.Kind, Run: s.Run, Subject: s.Subject, Sequence: s.Sequence, Text: s.Text()})
	}
	for _, s := range request.TimelineOf(d.ErpRequestId, messages, 0).RunStates() {
		out.Runs = append(out.Runs, Run{Run: s.Run, At: s.At.UTC(), Text: s.Text})
	}
	return out, nil
}
