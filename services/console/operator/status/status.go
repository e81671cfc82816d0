// Package status reports the health of the queues and companies, and what needs attention. It changes nothing.
//
// A report costs some dozens of requests to the broker and reads a bounded number of messages without their bodies,
// however many the streams hold: the first MaxUnfinished unfinished messages of each queue, and the newest MaxRecent
// messages of each stream within the last Window. The report says where it is incomplete for this reason, and which
// requests the broker did not answer.
package status

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
)

// Options configure a Reader.
type Options struct {
	Companies      map[int64]string // names of the companies in the companies file, by id
	Deadlines      request.Deadlines
	Clients        map[int64]*company.Client // clients of the companies, by id; rate limits are read only for these
	Quota          procore.Store             // the rate limits that all processes share; nil: they share none
	InvalidEntries int                       // entries of the companies file that have a mistake
	Embedded       bool                      // the broker is the embedded one, so tieback run is not running
	Window         time.Duration             // over which rates and results are counted; 0: a minute
	TroubleAfter   time.Duration             // how long a company's ERP or Procore must fail before it needs attention; 0: a minute
	MaxUnfinished  int                       // 0: 20,000
	MaxRecent      int                       // 0: 10,000
	MaxDeadLetters int                       // the newest dead letters to count; 0: 100,000
}

// Report is the state of the queues and companies at one time.
type Report struct {
	At        time.Time   `json:"at"`
	Window    float64     `json:"window_seconds"` // over which rates and results are counted
	Attention []Attention `json:"attention"`      // the most urgent first; empty: nothing needs attention
	Queues    []Queue     `json:"queues"`         // in the order of the stages
	Companies []Company   `json:"companies"`      // by id
	Losses    []bus.Loss  `json:"losses"`         // acknowledged messages that the streams no longer have
	Notes     []string    `json:"notes"`          // which numbers are incomplete, and why
	Unread    []string    `json:"unread"`         // requests that the broker did not answer
}

// Queue is the work of one stage: what its durable consumer has not finished.
type Queue struct {
	Stage       string      `json:"stage"`
	Known       bool        `json:"known"`          // the broker answered; otherwise the fields below are zero
	Created     bool        `json:"created"`        // its consumer exists
	Waiting     uint64      `json:"waiting"`        // not yet delivered to a process
	InFlight    int         `json:"in_flight"`      // being processed, prefetched, or waiting for another attempt
	Redelivered int         `json:"redelivered"`    // of those, delivered more than once
	Consumed    bool        `json:"consumed"`       // a process pulls messages, or has some
	OldestAge   *float64    `json:"oldest_seconds"` // of the oldest unfinished message; null: there is none, or not known
	Oldest      *RequestRef `json:"oldest"`         // the request of that message
	Overdue     *Overdue    `json:"overdue"`        // the oldest message that should have been finished; null: none is known
	Arrived     *float64    `json:"arrived_per_minute"`
	Finished    *float64    `json:"finished_per_minute"` // null: not known, as Arrived
}

// RequestRef identifies an ERP request.
type RequestRef struct {
	Company int64  `json:"company_id"`
	Request int64  `json:"request_id"` // 0: the message is on a subject that no service writes
	Type    string `json:"type"`       // "_": not known, as for every delivery
}

// Overdue is a message that its stage should have finished.
type Overdue struct {
	RequestRef
	Age float64 `json:"age_seconds"`
}

// Unfinished returns the number of messages in the queue.
func (q Queue) Unfinished() uint64 { return q.Waiting + uint64(q.InFlight) } //nolint:gosec // a count

// idle reports whether messages wait and no process pulls them.
func (q Queue) idle() bool { return q.Waiting > 0 && !q.Consumed }

// Company is the state of one company.
type Company struct {
	ID          int64    `json:"id"`             // 0: of messages on subjects that no service writes
	Name        string   `json:"name"`           // "": not in the companies file
	Open        int      `json:"open"`           // unfinished messages at all stages
	AtLeast     bool     `json:"at_least"`       // Open is a lower bound; see the report's notes
	OldestAge   *float64 `json:"oldest_seconds"` // null: nothing is unfinished
	Retrying    int      `json:"retrying"`       // of the unfinished messages, those with a failed attempt
	LastFailure string   `json:"last_failure"`   // of the newest failed attempt, for the operator; "": none
	Succeeded   int      `json:"succeeded"`      // events closed as success within the window
	Failed      int      `json:"failed"`         // events closed as failed within the window
	DeadLetters int      `json:"dead_letters"`   // unresolved
	Quota       *Quota   `json:"quota"`          // null: not known
	Client      string   `json:"client"`         // the name of its shared client; "": it has its own
	Refusal     *Refusal `json:"refusal"`        // null: Procore is not known to refuse its credentials

	Troubles []Trouble `json:"troubles"` // systems that it depends on and that fail
}

// Refusal says that Procore refuses the credentials in the companies file.
type Refusal struct {
	Since  time.Time  `json:"since"`
	Status int        `json:"status"`      // HTTP status of the login
	Until  *time.Time `json:"token_until"` // expiry of the previous token, which is still used; null: there is none
}

// Quota is what is left of Procore's rate limits.
type Quota struct {
	Hour    *RateWindow `json:"hour"`
	Spike   *RateWindow `json:"spike"`         // of ten seconds
	Blocked *time.Time  `json:"blocked_until"` // null: calls are allowed
}

// RateWindow is one of the rate limits. It is null if Procore has not sent it yet.
type RateWindow struct {
	Limit     int        `json:"limit"`
	Remaining int        `json:"remaining"`
	Reset     *time.Time `json:"reset"` // null: the whole limit is left
}

// Reader reads reports. Each report counts dead letters from where the last one stopped. Its methods are not for
// concurrent use.
type Reader struct {
	Options
	bus         *bus.Bus
	deadLetters *request.Counter
}

// New returns a reader.
func New(b *bus.Bus, o Options) *Reader {
	o.Window, o.TroubleAfter = cmp.Or(o.Window, time.Minute), cmp.Or(o.TroubleAfter, time.Minute)
	o.MaxUnfinished, o.MaxRecent, o.MaxDeadLetters = cmp.Or(o.MaxUnfinished, 20_000), cmp.Or(o.MaxRecent, 10_000), cmp.Or(o.MaxDeadLetters, 100_000)
	counter := request.NewCounter(b)
	counter.Limit = uint64(o.MaxDeadLetters) //nolint:gosec // a positive number
	return &Reader{Options: o, bus: b, deadLetters: counter}
}

// Read reads a report. Requests that the broker does not answer are listed in Unread. The only error is that of ctx.
func (r *Reader) Read(ctx context.Context) (Report, error) {
	v := &reading{Reader: r, at: time.Now(), companies: map[int64]*Company{}}
	v.report = Report{At: v.at.UTC(), Window: r.Window.Seconds(), Losses: []bus.Loss{}, Notes: []string{}, Unread: []string{}, Attention: []Attention{}}
	for id := range r.Companies {
		v.company(id)
	}
	var all sync.WaitGroup
	queues := make([]*queue, len(topology.Durables()))
	for i, d := range topology.Durables() {
		queues[i] = &queue{Queue: request.Queue{Durable: d}, report: Queue{Stage: d.Name}}
		all.Go(func() { v.readQueue(ctx, d, queues[i]) })
	}
	all.Go(func() { v.readLosses(ctx, v.readDeadLetters(ctx)) })
	all.Go(func() { v.readQuotas(ctx) })
	streams := v.readStreams(ctx, &all)
	all.Wait()
	setRates(queues, streams)
	v.readRetries(ctx, queues)
	v.readTroubles(ctx)
	for _, q := range queues {
		v.report.Queues = append(v.report.Queues, q.report)
	}
	return v.finish(), ctx.Err()
}

// reading is a report while it is read.
type reading struct {
	*Reader
	at        time.Time
	mu        sync.Mutex // guards the fields below
	report    Report
	companies map[int64]*Company
}

// company returns a company's state. The caller holds mu, or is the only goroutine.
func (v *reading) company(id int64) *Company {
	if v.companies[id] == nil {
		v.companies[id] = &Company{ID: id, Name: v.Companies[id], Client: v.clientName(id), Troubles: []Trouble{}}
	}
	return v.companies[id]
}

func (v *reading) unread(what string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Unread = append(v.report.Unread, fmt.Sprintf("%s: %v", what, err))
}

func (v *reading) note(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}

func (v *reading) finish() Report {
	for _, c := range v.companies {
		slices.SortFunc(c.Troubles, func(a, b Trouble) int {
			return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Reason, b.Reason))
		})
		v.report.Companies = append(v.report.Companies, *c)
	}
	slices.SortFunc(v.report.Companies, func(a, b Company) int { return cmp.Compare(a.ID, b.ID) })
	slices.Sort(v.report.Notes)
	slices.Sort(v.report.Unread)
	v.report.Attention = v.attention()
	return v.report
}

// age returns the seconds since a time. It is 0 for a time in the future, because clocks differ.
func (v *reading) age(at time.Time) *float64 {
	s := max(0, v.at.Sub(at)).Seconds()
	return &s
}
