// Package status implements `tieback status`: it reports the health of the queues and companies, and what needs
// action. It changes nothing.
//
// A report costs some dozens of requests to the broker and reads a bounded number of messages without their bodies,
// however many the streams hold: the first Tail unfinished messages of each queue, and the newest Recent messages of
// each stream within the last Window. The report says where it is incomplete for this reason, and what the broker did
// not answer.
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

// Options say how to look.
type Options struct {
	Companies map[int64]string // names of those connected, by id
	Limits    request.Limits
	Clients   map[int64]*company.Client // of all companies; nil: not known, and their limits are not read
	Quota     procore.Store             // Procore's limits as all processes share them; nil: none shares them
	Unserved  int                       // entries of the companies file that have a mistake
	Embedded  bool                      // the broker is that of a tieback run, which is stopped while somebody looks
	Window    time.Duration             // that rates and ends are counted over; 0: a minute
	Passes    time.Duration             // how long a company's ERP or Procore may be in trouble until a person is called; 0: a minute
	Tail      int                       // 0: 20,000
	Recent    int                       // 0: 10,000
	Letters   int                       // newest dead letters looked at; 0: 100,000
}

// Report is how the pipeline stands. The names of its fields are stable.
type Report struct {
	At        time.Time  `json:"at"`
	Window    float64    `json:"window_seconds"` // that rates, successes and failures are counted over
	Queues    []Queue    `json:"queues"`         // in the order of the stops
	Companies []Company  `json:"companies"`      // by id
	Losses    []bus.Loss `json:"losses"`         // what the streams have lost of what they acknowledged
	Notes     []string   `json:"notes"`          // what was counted in part only, and why
	Unasked   []string   `json:"unasked"`        // what the broker did not answer
	Needs     []string   `json:"needs_a_person"` // with what to do; empty: all is well
}

// Queue is a stop's queue: what its durable consumer has not finished.
type Queue struct {
	Stop     string   `json:"stop"`
	Known    bool     `json:"known"`          // the broker answered for it; else all below is zero
	Made     bool     `json:"made"`           // its service has run here, or provisioner has created it
	Waiting  uint64   `json:"waiting"`        // not handed out to any process yet
	Out      int      `json:"out"`            // handed out: worked, held, or waiting for another attempt
	Again    int      `json:"handed_again"`   // of those, handed out more than once
	Taken    bool     `json:"taken"`          // a process asks for its work, or has some
	Oldest   *float64 `json:"oldest_seconds"` // age of the oldest unfinished; null: there is none, or not known
	Of       *Event   `json:"oldest"`         // whose that is
	Overdue  *Overdue `json:"overdue"`        // the oldest that should have been finished; null: none is known
	In       *float64 `json:"in_per_minute"`  // null: not known
	Finished *float64 `json:"out_per_minute"`
}

// Event names a message.
type Event struct {
	Company int64  `json:"company"`
	Request int64  `json:"request"`
	Type    string `json:"type"` // "_": not known, as of every delivery
}

// Overdue is a message that its stop should have finished.
type Overdue struct {
	Event
	Age float64 `json:"age_seconds"`
}

// Unfinished is how deep the queue is.
func (q Queue) Unfinished() uint64 { return q.Waiting + uint64(q.Out) } //nolint:gosec // a count

// Company is one company's part in all that.
type Company struct {
	ID          int64    `json:"id"`
	Name        string   `json:"name"`           // "": not in the companies file
	Unfinished  int      `json:"unfinished"`     // messages at all stops
	AtLeast     bool     `json:"at_least"`       // not all were looked at; see the report's notes
	Oldest      *float64 `json:"oldest_seconds"` // null: nothing is unfinished
	Retrying    int      `json:"retrying"`       // of those, tried in vain at least once
	LastFailure string   `json:"last_failure"`   // the newest of theirs, for the operator; "": none
	Succeeded   int      `json:"succeeded"`      // events closed as success within the window
	Failed      int      `json:"failed"`         // events closed as failed within the window
	Dead        int      `json:"dead_letters"`   // that nobody has dealt with
	Quota       *Quota   `json:"quota"`          // of Procore's limits; null: not known
	Client      string   `json:"client"`         // its named client; "": one of its own
	Refusal     *Refusal `json:"refusal"`        // of its client's credentials, by Procore; null: none is known

	Troubles []Trouble `json:"troubles"` // what it depends on, and does not do its part
}

// Refusal says that Procore refuses the credentials that the companies file has.
type Refusal struct {
	Since  time.Time  `json:"since"`
	Status int        `json:"status"`      // of the login's answer
	Until  *time.Time `json:"token_until"` // the token from before is used until then; null: there is none
}

// Quota is what is left of Procore's limits.
type Quota struct {
	Hour    *Window    `json:"hour"`
	Spike   *Window    `json:"spike"`         // of ten seconds
	Blocked *time.Time `json:"blocked_until"` // no call is made until then; null: none is held back
}

// Window is one of the limits; null where Procore has never shown it.
type Window struct {
	Limit int        `json:"limit"`
	Left  int        `json:"left"`
	Reset *time.Time `json:"resets_at"` // null: it is whole
}

// Looker looks again and again. Its methods are not for concurrent use.
type Looker struct {
	Options
	bus     *bus.Bus
	letters *request.Counter
}

// New makes a looker.
func New(b *bus.Bus, o Options) *Looker {
	o.Window, o.Passes = cmp.Or(o.Window, time.Minute), cmp.Or(o.Passes, time.Minute)
	for n, otherwise := range map[*int]int{&o.Tail: 20_000, &o.Recent: 10_000, &o.Letters: 100_000} {
		if *n == 0 {
			*n = otherwise
		}
	}
	letters := request.NewCounter(b)
	letters.Newest = uint64(o.Letters) //nolint:gosec // a positive number
	return &Looker{Options: o, bus: b, letters: letters}
}

// Look looks once. What could not be asked is in the report; an error is the end of ctx.
func (l *Looker) Look(ctx context.Context) (Report, error) {
	v := &look{Looker: l, at: time.Now(), companies: map[int64]*Company{}}
	v.report = Report{At: v.at.UTC(), Window: l.Window.Seconds(), Losses: []bus.Loss{}, Notes: []string{}, Unasked: []string{}, Needs: []string{}}
	for id := range l.Companies {
		v.company(id)
	}
	var all sync.WaitGroup
	queues := make([]*queue, len(topology.Durables()))
	for i, d := range topology.Durables() {
		queues[i] = &queue{Queue: request.Queue{Durable: d}, Report: Queue{Stop: d.Name}}
		all.Go(func() { v.queue(ctx, d, queues[i]) })
	}
	all.Go(func() { v.losses(ctx, v.deadLetters(ctx)) })
	all.Go(func() { v.quotas(ctx) })
	streams := v.recents(ctx, &all)
	all.Wait()
	v.rates(queues, streams)
	v.retries(ctx, queues)
	v.troubles(ctx)
	for _, q := range queues {
		v.report.Queues = append(v.report.Queues, q.Report)
	}
	return v.done(), ctx.Err()
}

// look is one look. mu guards what its parts share.
type look struct {
	*Looker
	at        time.Time
	mu        sync.Mutex
	report    Report
	companies map[int64]*Company
}

// company gives a company's line. The caller holds mu, or is alone.
func (v *look) company(id int64) *Company {
	if v.companies[id] == nil {
		v.companies[id] = &Company{ID: id, Name: v.Companies[id], Client: v.clientName(id), Troubles: []Trouble{}}
	}
	return v.companies[id]
}

func (v *look) unasked(what string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Unasked = append(v.report.Unasked, fmt.Sprintf("%s: %v", what, err))
}

func (v *look) note(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}

func (v *look) done() Report {
	for _, c := range v.companies {
		slices.SortFunc(c.Troubles, func(a, b Trouble) int {
			return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Reason, b.Reason))
		})
		v.report.Companies = append(v.report.Companies, *c)
	}
	slices.SortFunc(v.report.Companies, func(a, b Company) int { return cmp.Compare(a.ID, b.ID) })
	slices.Sort(v.report.Notes)
	slices.Sort(v.report.Unasked)
	v.report.Needs = v.needs()
	return v.report
}

// age is how long ago something was; never less than nothing, as clocks differ.
func (v *look) age(at time.Time) *float64 {
	s := max(0, v.at.Sub(at)).Seconds()
	return &s
}
