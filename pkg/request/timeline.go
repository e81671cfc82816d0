// Package request answers where ERP requests stand: what happened to each, where it is, when it is due, how it ended,
// which dead letters need a person, and how long the queues are. It reads the pipeline's streams and changes nothing
// there, but for Expire and RepairExpired, which end an event that is past its due time. Commands and services print
// and act on its answers; none of them has a model of its own.
//
//	Messages, Read, ReadSince   the messages of requests, and their timelines
//	Timeline.Verdict            where a request stands, in a class and a sentence
//	Limits.Due                  the only place that adds a limit to a time
//	DeadLetters, Counter        dead letters with what was done about them
//	Queues                      what the stages have not finished
package request

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// The stages that are not named like a category.
const (
	Fetcher        = "fetcher"
	StatusReporter = "status-reporter"
)

// Timeline is all that the streams hold of one ERP request, without payloads. The zero value holds nothing.
type Timeline struct {
	Request     int64
	Type        string    // catalogue.Unknown if no message says it
	Created     time.Time // the click, by Procore's clock; zero: no message says it
	Runs        []*Run    // in no order; see Run.Name
	Reports     []Report  // in the order of time
	DeadLetters []DeadLetter
	resolutions map[uint64][]*tiebackv1.Resolution // of dead letters, by their id, in the order of their stream
	kept        time.Duration                      // how long the streams keep runs; 0: for ever
	createdBy   int                                // how good the source of Created is
}

// Run is one way of a request through the stages; see bus.Subject. A late outcome belongs to the run that it is late for.
type Run struct {
	Name                           string // "": the first
	Delivery, Event, Outcome, Late Position
	awaited                        bool // a user waits for Event; not known if there is an Outcome
}

// Position is a message's place in its stream; the zero value is that of no message.
type Position struct {
	At       time.Time // when the broker stored it
	Sequence uint64
}

func (p Position) is() bool { return p.Sequence != 0 || !p.At.IsZero() }

// Report is what the status-reporter has reported to Procore of a run.
type Report struct {
	Position
	Run          string                // a late outcome's is "late", or ends in "-late"
	CloseOuts    []*tiebackv1.CloseOut // without marks; long messages are cut
	DeadLettered bool                  // the event is among the dead letters
	Expired      bool                  // its due time passed first
	Left         string                // why the request was left alone; see Outcome. "": it was worked
}

// Of returns the timeline of one request's messages, in any order. kept is how long the streams keep deliveries, events
// and outcomes; 0: for ever.
func Of(request int64, messages []bus.Message, kept time.Duration) *Timeline {
	t := newTimeline(request, kept)
	for _, m := range messages {
		t.add(m)
	}
	return t.settle()
}

func newTimeline(request int64, kept time.Duration) *Timeline {
	return &Timeline{Request: request, Type: catalogue.Unknown, kept: kept}
}

// Messages reads all messages of a request, stream by stream and in the order of each. All streams are read at once,
// so that a broker that is away is waited for once. What a stream did not answer is in unread, and the rest is
// returned all the same.
func Messages(ctx context.Context, b *bus.Bus, company, request int64) (all []bus.Message, unread map[bus.Kind]error) {
	found, errs := make([][]bus.Message, len(bus.Kinds)), make([]error, len(bus.Kinds))
	var reads sync.WaitGroup
	for i, k := range bus.Kinds {
		reads.Go(func() {
			errs[i] = b.Scan(ctx, bus.Scan{Kind: k, Subjects: subjectsOf(k, company, request)}, func(m bus.Message) error {
				found[i] = append(found[i], m)
				return nil
			})
		})
	}
	reads.Wait()
	unread = map[bus.Kind]error{}
	for i, err := range errs {
		if err != nil {
			unread[bus.Kinds[i]] = err
		}
	}
	return slices.Concat(found...), unread
}

func subjectsOf(k bus.Kind, company, request int64) []string {
	first := fmt.Sprintf("tb.%s.*.*.%d.%d", k, company, request)
	return []string{first, first + ".*"}
}

// together is how many requests one scan looks for: each takes two filters.
const together = 50

// Read returns the timelines of a company's requests, by request. One that the streams hold nothing of has an empty one.
func Read(ctx context.Context, b *bus.Bus, company int64, requests ...int64) (map[int64]*Timeline, error) {
	r, err := newReading(ctx, b)
	if err != nil {
		return nil, err
	}
	for some := range slices.Chunk(requests, together) {
		for _, k := range readOrder {
			q := bus.Scan{Kind: k}
			for _, request := range some {
				r.of(request)
				q.Subjects = append(q.Subjects, subjectsOf(k, company, request)...)
			}
			if err := r.scan(ctx, q); err != nil {
				return nil, err
			}
		}
	}
	return r.settle(), nil
}

// ReadSince returns the timelines of all of a company's requests with messages stored since then, by request, of those
// messages: one scan of each stream. A request whose dead letter is missing is read whole: it may be older.
func ReadSince(ctx context.Context, b *bus.Bus, company int64, since time.Time) (map[int64]*Timeline, error) {
	r, err := newReading(ctx, b)
	if err != nil {
		return nil, err
	}
	for _, k := range readOrder {
		if err := r.scan(ctx, bus.Scan{Kind: k, Subjects: []string{fmt.Sprintf("tb.%s.*.*.%d.>", k, company)}, Since: since}); err != nil {
			return nil, err
		}
	}
	all := r.settle()
	var lost []int64
	for request, t := range all {
		if t.lostDeadLetter(time.Now()) {
			lost = append(lost, request)
		}
	}
	whole, err := Read(ctx, b, company, lost...)
	maps.Copy(all, whole)
	return all, err
}

// readOrder begins with the last messages of a request. A request that moves on while it is read then shows as at an
// earlier stage than it is, and never as ended while a new run has begun. It also saves reading an event's payload
// where the outcome is there.
var readOrder = []bus.Kind{bus.Closed, bus.Resolution, bus.Dead, bus.Outcome, bus.Event, bus.Delivery}

// reading are timelines while they are read.
type reading struct {
	bus       *bus.Bus
	kept      time.Duration
	timelines map[int64]*Timeline
}

func newReading(ctx context.Context, b *bus.Bus) (*reading, error) {
	kept, err := b.Retention(ctx, bus.Event)
	return &reading{bus: b, kept: kept, timelines: map[int64]*Timeline{}}, err
}

func (r *reading) of(request int64) *Timeline {
	if r.timelines[request] == nil {
		r.timelines[request] = newTimeline(request, r.kept)
	}
	return r.timelines[request]
}

func (r *reading) scan(ctx context.Context, q bus.Scan) error {
	return r.bus.Scan(ctx, q, func(m bus.Message) error {
		if m.Subject != (bus.Subject{}) {
			r.of(m.Subject.Request).add(m)
		}
		return nil
	})
}

func (r *reading) settle() map[int64]*Timeline {
	for _, t := range r.timelines {
		t.settle()
	}
	return r.timelines
}

// add adds a message. One on a subject that no service of ours writes is left out.
func (t *Timeline) add(m bus.Message) {
	s, at := m.Subject, Position{At: m.Stored, Sequence: m.Sequence}
	if s.Type != catalogue.Unknown && s.Type != "" {
		t.Type = s.Type
	}
	switch s.Kind {
	case bus.Delivery:
		t.run(s.Run).Delivery = at
		var d tiebackv1.Delivery
		if proto.Unmarshal(m.Data, &d) == nil {
			by := fromDelivery
			if s.Run != "" {
				by = fromReplay
			}
			t.created(cmp.Or(d.OccurredAt, d.ReceivedAt), by)
		}
	case bus.Event:
		r := t.run(s.Run)
		r.Event, r.awaited = at, true
		var e tiebackv1.Event
		if proto.Unmarshal(m.Data, &e) == nil {
			t.created(e.RequestedAt, fromEvent)
			r.awaited = !r.Outcome.is() && len(procore.RequestDetails(e.Payload)) > 0
		}
	case bus.Outcome:
		if s.IsLate() {
			t.run(s.Run).Late = at
		} else {
			t.run(s.Run).Outcome = at
		}
	case bus.Closed:
		if r, ok := ParseReport(m); ok {
			t.Reports = append(t.Reports, r)
		}
	case bus.Dead:
		d := ParseDeadLetter(m)
		d.Message = nil // large, and not needed
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

// The sources of Created, from the worst to the best.
const (
	fromReplay = iota + 1
	fromDelivery
	fromEvent
)

// created notes when Procore created the request. A time that JSON can't hold, or of 1970 or before, is none.
func (t *Timeline) created(at *timestamppb.Timestamp, by int) {
	if at.IsValid() && at.AsTime().Unix() > 0 && by > t.createdBy {
		t.Created, t.createdBy = at.AsTime(), by
	}
}

// ParseReport makes a report of a closed message; false: no service of ours wrote it.
func ParseReport(m bus.Message) (Report, bool) {
	var o tiebackv1.Outcome
	if m.Subject == (bus.Subject{}) || proto.Unmarshal(m.Data, &o) != nil {
		return Report{}, false
	}
	r := Report{Position: Position{m.Stored, m.Sequence}, Run: m.Subject.Run, DeadLettered: o.DeadLettered, Expired: o.Expired, Left: o.Left}
	for _, c := range o.CloseOuts {
		r.CloseOuts = append(r.CloseOuts, &tiebackv1.CloseOut{
			RequestDetailId: c.RequestDetailId, Status: c.Status, KeptStatus: c.KeptStatus, Record: c.Record, Messages: shortened(c.Messages),
		})
	}
	return r, true
}

// maxMessage is how many characters of a message are kept.
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

// settle puts in order what was added in any order, and joins dead letters and their resolutions.
func (t *Timeline) settle() *Timeline {
	slices.SortFunc(t.Reports, func(a, b Report) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Sequence, b.Sequence)) })
	slices.SortFunc(t.DeadLetters, func(a, b DeadLetter) int { return cmp.Compare(a.ID, b.ID) })
	for i := range t.DeadLetters {
		d := &t.DeadLetters[i]
		d.Resolutions = t.resolutions[d.ID]
		d.State = d.state(time.Now(), t.kept, t.published)
	}
	return t
}

// published reports whether the request has a message in a replay's run. One that went on to the next stage had it.
func (t *Timeline) published(s bus.Subject) bool {
	return slices.ContainsFunc(t.Runs, func(r *Run) bool { return r.Name == s.Run }) || t.reported(s.Run)
}

// run returns the run of a name, which it makes if there is none. The run of a late outcome is that of its event.
func (t *Timeline) run(name string) *Run {
	name = baseRun(name)
	for _, r := range t.Runs {
		if r.Name == name {
			return r
		}
	}
	r := &Run{Name: name}
	t.Runs = append(t.Runs, r)
	return r
}

// baseRun is the run that a late outcome is late for; of any other run it is the run itself.
func baseRun(run string) string {
	return bus.Subject{Run: run}.OfEvent().Run
}

// reported reports whether Procore was told the end of a run.
func (t *Timeline) reported(run string) bool {
	return slices.ContainsFunc(t.Reports, func(r Report) bool { return r.Run == run })
}

// Last is the newest report; nil: there is none.
func (t *Timeline) Last() *Report {
	if len(t.Reports) == 0 {
		return nil
	}
	return &t.Reports[len(t.Reports)-1]
}

// Empty reports whether the streams hold nothing of the request that a service has to do with.
func (t *Timeline) Empty() bool {
	return len(t.Runs) == 0 && len(t.Reports) == 0 && len(t.DeadLetters) == 0
}

// Stage is a stage that has a message of a request to work.
type Stage struct {
	Name string // of its consumer too; "": the request is at no stage
	Kind bus.Kind
	Run  string // as the message's subject has it
	Position
	awaited bool
}

// Stage returns the stage at which the request is. Of several runs it is that of the run that came there last.
func (t *Timeline) Stage() Stage {
	var last Stage
	for _, r := range t.Runs {
		if s := t.stageOf(r); s.Name != "" && !t.died(r.Name, s.Name) && (last.Name == "" || s.At.After(last.At)) {
			last = s
		}
	}
	return last
}

func (t *Timeline) stageOf(r *Run) Stage {
	late := bus.Subject{Run: r.Name}.Late().Run
	row, _ := catalogue.Lookup(t.Type)
	switch {
	case r.Late.is() && !t.reported(late):
		return Stage{StatusReporter, bus.Outcome, late, r.Late, true}
	case r.Late.is() || t.reported(r.Name):
		return Stage{}
	case r.Outcome.is():
		return Stage{StatusReporter, bus.Outcome, r.Name, r.Outcome, true}
	case r.Event.is():
		return Stage{cmp.Or(string(row.Category), "worker"), bus.Event, r.Name, r.Event, r.awaited}
	case r.Delivery.is():
		return Stage{Fetcher, bus.Delivery, r.Name, r.Delivery, true}
	}
	return Stage{}
}

// died reports whether a stage dead-lettered the message of a run.
func (t *Timeline) died(run, stage string) bool {
	return slices.ContainsFunc(t.DeadLetters, func(d DeadLetter) bool { return d.Stage == stage && baseRun(d.Run) == run })
}

// AtWork reports whether a stage still has something of the request to work.
func (t *Timeline) AtWork() bool { return t.Stage().Name != "" }

// Ended reports whether the request was closed or dead-lettered, and is at no stage. One that the streams show nothing
// of, as a replica that lags may do, has not ended.
func (t *Timeline) Ended() bool {
	return (len(t.Reports) > 0 || len(t.DeadLetters) > 0) && !t.AtWork()
}

// LeftAlone reports whether the pipeline left the request alone, and the request is at no stage.
func (t *Timeline) LeftAlone() bool {
	last := t.Last()
	return last != nil && last.Left != "" && !t.AtWork()
}

// Closes reports whether Procore was told how one of the request details ended.
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

// NewestDeadLetter is the request's newest dead letter; nil: there is none.
func (t *Timeline) NewestDeadLetter() *DeadLetter {
	if len(t.DeadLetters) == 0 {
		return nil
	}
	return &t.DeadLetters[len(t.DeadLetters)-1]
}

// OpenDeadLetter is the newest dead letter that needs a person; nil: none does.
func (t *Timeline) OpenDeadLetter() *DeadLetter {
	for i := len(t.DeadLetters) - 1; i >= 0; i-- {
		if !t.DeadLetters[i].Done() {
			return &t.DeadLetters[i]
		}
	}
	return nil
}

// Companies returns the companies that have a request of this id, in order: among known, at the cost of one lookup
// each, and only if none of those has it, among all that the streams hold. A replayed request may be older than its
// delivery was kept.
func Companies(ctx context.Context, b *bus.Bus, request int64, known []int64) ([]int64, error) {
	var have []int64
	for _, c := range known {
		arrived, err := b.Has(ctx, bus.For(bus.Delivery, "", c, request))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", bus.Delivery.Stream(), err)
		}
		if arrived {
			have = append(have, c)
		}
	}
	var errs []error
	if have == nil {
		for _, k := range bus.Kinds {
			first := fmt.Sprintf("tb.%s.*.*.*.%d", k, request)
			errs = append(errs, b.Scan(ctx, bus.Scan{Kind: k, Subjects: []string{first, first + ".*"}}, func(m bus.Message) error {
				if m.Subject != (bus.Subject{}) {
					have = append(have, m.Subject.Company)
				}
				return nil
			}))
		}
	}
	slices.Sort(have)
	return slices.Compact(have), errors.Join(errs...)
}

// kindOf is the kind of a stream's messages; "": it is no kind's.
func kindOf(stream string) bus.Kind {
	_, kind, _ := strings.Cut(strings.ToLower(stream), "tieback_")
	return bus.Kind(kind)
}
