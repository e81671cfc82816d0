// Package scenario is the test scenario of the sandbox: the users of some companies create records in Procore and press
// Export, Sync, Import, Unlink and Reset for all event types, and add and delete records in the ERP.
//
//	setup      metadata, categories and standard cost codes, one after the other
//	vendors    exported, synced, imported, linked, merged
//	jobs       jobs and sub jobs, exported and imported
//	contracts  per job: budget, commitments, invoices, payments, prime contract …
//	undo       unlinks, which fail while the ERP has the record; resets
//	failures   events that must fail or become dead letters
//
// A step uses the results of earlier ones: a commitment is exported with the origin ids of its vendor, job and cost codes.
// The report lists the steps that were skipped because an earlier one failed.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
)

// ERP is a company's ERP as its users see it.
type ERP interface {
	// Add books a record and returns it with its origin ids.
	Add(ctx context.Context, r *tiebackv1.Record) (*tiebackv1.Record, error)
	// Delete deletes a record.
	Delete(ctx context.Context, entity tiebackv1.Entity, originID string) error
}

// Config configures a scenario.
type Config struct {
	ERPs        map[int64]ERP      // by company
	Cannot      []tiebackv1.Entity // entities that the ERPs do not support: their exports must fail
	OneCurrency bool               // the ERPs refuse foreign currencies: such exports must fail
	NoUnclear   bool               // leave out contracts without an amount or with a wrong total, which older versions book
	Seed        uint64
	Scale       int           // about the number of events; 0: 300. Each type occurs at least once
	Deadline    time.Duration // of each event, from its click; 0: 1 minute
}

// Scenario is a run of the scenario.
type Scenario struct {
	sb  *sandbox.Sandbox
	cfg Config

	mu      sync.Mutex
	events  []*Event
	skipped []string
}

// New returns a scenario for companies that are in the sandbox.
func New(sb *sandbox.Sandbox, cfg Config) *Scenario {
	if cfg.Scale <= 0 {
		cfg.Scale = 300
	}
	if cfg.Deadline <= 0 {
		cfg.Deadline = time.Minute
	}
	return &Scenario{sb: sb, cfg: cfg}
}

// The number of events of a company at the smallest scale, and of each additional job.
const (
	eventsPerCompany = 72
	eventsPerJob     = 13
)

// Run runs all companies concurrently. It must be called at most once. Report has the events that went wrong. The error
// says which companies stopped early and why: ctx ended, the ERP refused a record, or an export failed on which all
// later steps depend.
func (s *Scenario) Run(ctx context.Context) error {
	each := s.cfg.Scale / max(1, len(s.cfg.ERPs))
	jobs := max(2, (each-eventsPerCompany)/eventsPerJob)
	errs := make(chan error, len(s.cfg.ERPs))
	for id, erp := range s.cfg.ERPs {
		a := &actor{s: s, company: id, erp: erp, rng: rand.New(rand.NewPCG(s.cfg.Seed, uint64(id)))}
		go func() { errs <- a.runCompany(ctx, jobs) }()
	}
	var all error
	for range s.cfg.ERPs {
		all = errors.Join(all, <-errs)
	}
	return all
}

// Expectation is the expected end of an event.
type Expectation string

// The expectations.
const (
	Succeeds   Expectation = "success"
	Fails      Expectation = "failed"
	DeadLetter Expectation = "dead letter"
)

// Event is an event of the scenario.
type Event struct {
	RequestID    int64
	CompanyID    int64
	Type         string
	Category     string // catalogue.Unknown for an undocumented type
	Expected     Expectation
	Message      string // a part of the message of an expected failure
	Clicked      time.Time
	Closed       time.Time // zero: open
	Outcome      string    // success, failed, or "" for an event without details
	DeadLettered bool
	Messages     []string // of the request details
	TooEarly     []string // see sandbox.Request
}

// Took returns the time from the click to the close-out; 0 for an open event.
func (e Event) Took() time.Duration {
	if e.Closed.IsZero() {
		return 0
	}
	return e.Closed.Sub(e.Clicked)
}

// Report is the result of a scenario.
type Report struct {
	Events  []Event
	Lost    []Event  // open
	Wrong   []Event  // that did not end as expected, or were reported as success too early
	Skipped []string // the steps that were skipped, and why
}

// Report returns the current state of all events.
func (s *Scenario) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	rep := Report{Skipped: slices.Clone(s.skipped)}
	for _, pressed := range s.events {
		e := *pressed
		e.update(s.sb)
		rep.Events = append(rep.Events, e)
		switch {
		case e.Closed.IsZero():
			rep.Lost = append(rep.Lost, e)
		case e.wrong():
			rep.Wrong = append(rep.Wrong, e)
		}
	}
	return rep
}

// Types returns the types of the events, sorted, each once.
func (r Report) Types() []string {
	var out []string
	for _, e := range r.Events {
		out = append(out, e.Type)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (e *Event) update(sb *sandbox.Sandbox) {
	req, _ := sb.Request(e.RequestID)
	e.Clicked, e.Closed, e.Outcome = req.Clicked, req.Closed, req.Outcome()
	e.DeadLettered, e.TooEarly, e.Messages = req.DeadLettered, req.TooEarly, nil
	for _, d := range req.Details {
		e.Messages = append(e.Messages, d.Messages...)
	}
}

func (e *Event) wrong() bool {
	if len(e.TooEarly) > 0 {
		return true
	}
	switch e.Expected {
	case Fails:
		got := strings.ToLower(strings.Join(e.Messages, "\n"))
		return e.Outcome != sandbox.Failed || !strings.Contains(got, strings.ToLower(e.Message))
	case DeadLetter:
		return e.Outcome == sandbox.Success
	}
	return e.Outcome == sandbox.Failed || e.DeadLettered
}

// press presses a button and records the event.
func (s *Scenario) press(company int64, eventType string, payload map[string]any, want Expectation, message string) (int64, error) {
	id, err := s.sb.Press(company, eventType, payload)
	if err != nil {
		return 0, fmt.Errorf("pressing %s: %w", eventType, err)
	}
	category := catalogue.Unknown
	if row, known := catalogue.Lookup(eventType); known {
		category = string(row.Category)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, &Event{RequestID: id, CompanyID: company, Type: eventType, Category: category, Expected: want, Message: message})
	return id, nil
}

func (s *Scenario) skip(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped = append(s.skipped, fmt.Sprintf(format, args...))
}
