// Package request is the read model of the pipeline: the timeline of each ERP request, its stage, deadline and end, the dead
// letters with their resolutions, and the queues. Commands and services have no model of their own. The package reads the
// streams. Only Expire and RepairExpired write: they end an event that is past its deadline.
//
//	Messages, Read, ReadSince   the messages of requests, and their timelines
//	Timeline.Verdict            the state of a request, as a class and a sentence
//	Deadlines.Due               the deadline of a message
//	DeadLetters, Counter        dead letters with their resolutions
//	Queues                      the messages that the stages have not finished
package request

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Timeline is the history of one ERP request in the streams, without payloads. The zero value is empty.
type Timeline struct {
	Request     int64
	Type        string    // catalogue.Unknown if not known
	Created     time.Time // the click, by Procore's clock; zero: not known
	Runs        []*Run    // in no order
	Reports     []Report  // oldest first
	DeadLetters []DeadLetter
	resolutions map[uint64][]*tiebackv1.Resolution // by the id of their dead letter, oldest first
	retention   time.Duration                      // of deliveries, events and outcomes; 0: no limit
	createdFrom createdSource                      // the source of Created
}

// Run is one pass of a request through the stages; see bus.Subject. A late outcome belongs to the run of its event. Messages
// with the same run name but different event types belong to separate Runs, because an outcome ends only an event of its own
// type.
type Run struct {
	Name                           string // "": the first
	Type                           string // of Event and Outcome; catalogue.Unknown: the run has no event
	Delivery, Event, Outcome, Late Position
	userWaits                      bool // a user waits for Event; false if there is an Outcome
}

// Position is a message's place in its stream. The zero value means that there is no message.
type Position struct {
	At       time.Time // when the broker stored it
	Sequence uint64
}

func (p Position) exists() bool { return p.Sequence != 0 || !p.At.IsZero() }

// Report is a message of bus.Closed: what the status-reporter has reported to Procore about a run.
type Report struct {
	Position
	Run          string                // see bus.Subject; a late outcome has "late" or "<run>-late"
	Type         string                // of the subject
	CloseOuts    []*tiebackv1.CloseOut // without CloseOut.Marks and the other updates; long messages are shortened
	DeadLettered bool                  // the event has a dead letter
	Expired      bool                  // the event was closed because its deadline passed
	SkipReason   string                // why the request was not processed, see Outcome; "": it was processed
}

// TimelineOf returns the timeline of one request from its messages, which may be in any order. retention is how long the
// streams keep deliveries, events and outcomes; 0: no limit.
func TimelineOf(request int64, messages []bus.Message, retention time.Duration) *Timeline {
	t := newTimeline(request, retention)
	for _, m := range messages {
		t.add(m)
	}
	return t.finish()
}

func newTimeline(request int64, retention time.Duration) *Timeline {
	return &Timeline{Request: request, Type: catalogue.Unknown, retention: retention}
}

// add adds a message. It ignores a message on a subject that no service writes.
func (t *Timeline) add(m bus.Message) {
	s, at := m.Subject, Position{At: m.Stored, Sequence: m.Sequence}
	if s.Type != catalogue.Unknown && s.Type != "" && (t.Type == catalogue.Unknown || s.Kind == bus.Event) {
		t.Type = s.Type // the event's type wins: with the stolen key of a worker, the types in other subjects could be forged
	}
	switch s.Kind {
	case bus.Delivery:
		t.run(s.Run, s.Type).Delivery = at
		var d tiebackv1.Delivery
		if proto.Unmarshal(m.Data, &d) == nil {
			source := fromDelivery
			if s.Run != "" {
				source = fromReplay
			}
			t.setCreated(cmp.Or(d.OccurredAt, d.ReceivedAt), source)
		}
	case bus.Event:
		r := t.run(s.Run, s.Type)
		r.Event, r.userWaits = at, true
		var e tiebackv1.Event
		if proto.Unmarshal(m.Data, &e) == nil {
			t.setCreated(e.RequestedAt, fromEvent)
			r.userWaits = !r.Outcome.exists() && len(procore.RequestDetails(e.Payload)) > 0
		}
	case bus.Outcome:
		if s.IsLate() {
			t.run(s.Run, s.Type).Late = at
		} else {
			t.run(s.Run, s.Type).Outcome = at
		}
	case bus.Closed:
		if r, ok := ParseReport(m); ok {
			t.Reports = append(t.Reports, r)
		}
	case bus.Dead:
		d := ParseDeadLetter(m)
		d.Message = nil // large
		t.DeadLetters = append(t.DeadLetters, d)
	case bus.Resolution:
		r := &tiebackv1.Resolution{}
		if proto.Unmarshal(m.Data, r) == nil {
			if t.resolutions == nil {
				t.resolutions = map[uint64][]*tiebackv1.Resolution{}
			}
			t.resolutions[r.DeadLetter] = append(t.resolutions[r.DeadLetter], r)
		}
	}
}

// createdSource is where Timeline.Created comes from. A higher value is a better source.
type createdSource int

const (
	fromReplay createdSource = iota + 1
	fromDelivery
	fromEvent
)

// setCreated sets when Procore created the request, unless the time is known from the same source or a better one. It ignores
// invalid times and times before 1970.
func (t *Timeline) setCreated(at *timestamppb.Timestamp, source createdSource) {
	if at.IsValid() && at.AsTime().Unix() > 0 && source > t.createdFrom {
		t.Created, t.createdFrom = at.AsTime(), source
	}
}

// ParseReport parses a message of bus.Closed. It returns false if no service wrote the message.
func ParseReport(m bus.Message) (Report, bool) {
	var o tiebackv1.Outcome
	if m.Subject == (bus.Subject{}) || proto.Unmarshal(m.Data, &o) != nil {
		return Report{}, false
	}
	r := Report{Position: Position{m.Stored, m.Sequence}, Run: m.Subject.Run, Type: m.Subject.Type, DeadLettered: o.DeadLettered, Expired: o.Expired, SkipReason: o.SkipReason}
	for _, c := range o.CloseOuts {
		r.CloseOuts = append(r.CloseOuts, &tiebackv1.CloseOut{
			RequestDetailId: c.RequestDetailId, Status: c.Status, KeptStatus: c.KeptStatus, Record: c.Record, Messages: shortened(c.Messages),
		})
	}
	return r, true
}

// maxMessage is the largest number of characters of a message in a Report.
const maxMessage = 500

func shortened(messages []string) (short []string) {
	for _, m := range messages {
		if r := []rune(m); len(r) > maxMessage {
			m = string(r[:maxMessage]) + "…"
		}
		short = append(short, m)
	}
	return short
}

// finish sorts the reports and dead letters, joins the deliveries with their events, and sets the resolutions of the dead letters.
func (t *Timeline) finish() *Timeline {
	t.joinDeliveries()
	slices.SortFunc(t.Reports, func(a, b Report) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Sequence, b.Sequence)) })
	slices.SortFunc(t.DeadLetters, func(a, b DeadLetter) int { return cmp.Compare(a.ID, b.ID) })
	for i := range t.DeadLetters {
		d := &t.DeadLetters[i]
		d.Resolutions = t.resolutions[d.ID]
		replay, checkable := replayOf(d.resolution(), time.Now(), t.retention)
		d.State = d.state(checkable && !t.published(replay))
	}
	return t
}

// published reports whether the request has a message in the run of a replay, at any stage.
func (t *Timeline) published(s bus.Subject) bool {
	return slices.ContainsFunc(t.Runs, func(r *Run) bool { return r.Name == s.Run }) || t.reportedAnyType(s.Run)
}

// run returns the run with this run name and event type, and adds it if necessary. A late outcome belongs to the run of its event.
func (t *Timeline) run(name, eventType string) *Run {
	name = baseRun(name)
	for _, r := range t.Runs {
		if r.Name == name && r.Type == eventType {
			return r
		}
	}
	r := &Run{Name: name, Type: eventType}
	t.Runs = append(t.Runs, r)
	return r
}

// joinDeliveries moves each delivery to the run of the event that was fetched for it. Until then it is in a run of unknown
// type, because a delivery has no type.
func (t *Timeline) joinDeliveries() {
	for _, r := range t.Runs {
		fetched := slices.IndexFunc(t.Runs, func(e *Run) bool { return e != r && e.Name == r.Name && e.Event.exists() })
		if r.Type == catalogue.Unknown && r.Delivery.exists() && fetched >= 0 {
			t.Runs[fetched].Delivery, r.Delivery = r.Delivery, Position{}
		}
	}
	t.Runs = slices.DeleteFunc(t.Runs, func(r *Run) bool { return r.began().IsZero() && !r.Late.exists() })
}

// baseRun returns a run name without "late": for a late outcome, the run name of its event. Other names are returned as they are.
func baseRun(run string) string {
	return bus.Subject{Run: run}.OfEvent().Run
}

// reportedAnyType reports whether Reports has an entry for the run name, of any event type.
func (t *Timeline) reportedAnyType(run string) bool {
	return slices.ContainsFunc(t.Reports, func(r Report) bool { return r.Run == run })
}

// reported reports whether Reports has an entry for the run name and event type.
func (t *Timeline) reported(run, eventType string) bool {
	return slices.ContainsFunc(t.Reports, func(r Report) bool { return r.Run == run && r.Type == eventType })
}

// Last returns the newest report, or nil if there is none.
func (t *Timeline) Last() *Report {
	if len(t.Reports) == 0 {
		return nil
	}
	return &t.Reports[len(t.Reports)-1]
}

// Empty reports whether the streams have no message of the request, other than resolutions.
func (t *Timeline) Empty() bool {
	return len(t.Runs) == 0 && len(t.Reports) == 0 && len(t.DeadLetters) == 0
}

// Closes reports whether the end of one of the request details was reported to Procore.
func (t *Timeline) Closes(details ...int64) bool {
	for _, r := range t.Reports {
		for _, c := range r.CloseOuts {
			if slices.Contains(details, c.RequestDetailId) && c.Status != tiebackv1.Status_STATUS_IN_PROGRESS {
				return true
			}
		}
	}
	return false
}

// NewestDeadLetter returns the newest dead letter, or nil if there is none.
func (t *Timeline) NewestDeadLetter() *DeadLetter {
	if len(t.DeadLetters) == 0 {
		return nil
	}
	return &t.DeadLetters[len(t.DeadLetters)-1]
}

// OpenDeadLetter returns the newest unresolved dead letter, or nil if there is none.
func (t *Timeline) OpenDeadLetter() *DeadLetter {
	for i := len(t.DeadLetters) - 1; i >= 0; i-- {
		if !t.DeadLetters[i].Resolved() {
			return &t.DeadLetters[i]
		}
	}
	return nil
}
