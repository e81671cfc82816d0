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

// ERP is what the accountants' colleagues do by hand in a company's ERP.
type ERP interface {
	// Add books a record and answers it with the origin ids that the ERP gave.
	Add(ctx context.Context, r *tiebackv1.Record) (*tiebackv1.Record, error)
	// Delete takes a record out of the books.
	Delete(ctx context.Context, entity tiebackv1.Entity, originID string) error
}

// Config sets a play up.
type Config struct {
	ERPs   map[int64]ERP      // by company; each company here plays
	Cannot []tiebackv1.Entity // what the ERPs don't take: its exports are meant to fail, plainly
	// OneCurrency: the ERPs take no currency but the company's own. A document in another one is meant
	// to fail.
	OneCurrency bool
	// NoUnclear leaves out the contracts with a missing amount or a wrong total: an older Tieback books them.
	NoUnclear bool
	Seed      uint64
	Scale     int           // about how many events; 0: 300. Never fewer than each type once
	Deadline  time.Duration // of each event, from its click; 0: 1 minute
}

// Play is one performance; Run it once.
type Play struct {
	sb  *sandbox.Sandbox
	cfg Config

	mu      sync.Mutex
	rows    []*Row
	skipped []string
}

// New sets the stage: the companies must have been added to the sandbox.
func New(sb *sandbox.Sandbox, cfg Config) *Play {
	if cfg.Scale <= 0 {
		cfg.Scale = 300
	}
	if cfg.Deadline <= 0 {
		cfg.Deadline = time.Minute
	}
	return &Play{sb: sb, cfg: cfg}
}

// How many events a company makes however small the scale, and how many each job adds.
const (
	eventsACompany = 72
	eventsAJob     = 13
)

// Run plays all companies at once and returns when the curtain falls. Events that went wrong are
// for Report to say. The error says which company had to stop early, and why: ctx ended, the
// ERP refused its own people, or nothing came back that the rest could stand on.
func (p *Play) Run(ctx context.Context) error {
	each := p.cfg.Scale / max(1, len(p.cfg.ERPs))
	jobs := max(2, (each-eventsACompany)/eventsAJob)
	errs := make(chan error, len(p.cfg.ERPs))
	for id, erp := range p.cfg.ERPs {
		d := &desk{p: p, company: id, erp: erp, rng: rand.New(rand.NewPCG(p.cfg.Seed, uint64(id)))}
		go func() { errs <- d.play(ctx, jobs) }()
	}
	var all error
	for range p.cfg.ERPs {
		all = errors.Join(all, <-errs)
	}
	return all
}

// Expectation is how an event is meant to end.
type Expectation string

// The expectations.
const (
	Succeeds   Expectation = "success"
	Fails      Expectation = "failed on purpose"
	DeadLetter Expectation = "dead-lettered on purpose"
)

// Row is one event of the play.
type Row struct {
	RequestID    int64
	CompanyID    int64
	Type         string
	Category     string // catalogue.Unknown for a type that Procore never documented
	Expected     Expectation
	Says         string // what the message of an expected failure must contain
	Clicked      time.Time
	Closed       time.Time // zero: lost
	Outcome      string    // success, failed, or "" for an event without a detail
	DeadLettered bool
	Messages     []string // of the request details
	TooEarly     []string // successes that came before their records were marked
}

// Took is how long the user waited.
func (r Row) Took() time.Duration {
	if r.Closed.IsZero() {
		return 0
	}
	return r.Closed.Sub(r.Clicked)
}

// Report is how the play went.
type Report struct {
	Rows    []Row
	Lost    []Row    // never closed within the deadline
	Wrong   []Row    // ended otherwise than meant, or told success too early
	Skipped []string // what was not pressed, and why
}

// Report reads how all events stand now; one that closed after its deadline is lost no more.
func (p *Play) Report() Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	rep := Report{Skipped: slices.Clone(p.skipped)}
	for _, kept := range p.rows {
		row := *kept
		row.read(p.sb)
		rep.Rows = append(rep.Rows, row)
		switch {
		case row.Closed.IsZero():
			rep.Lost = append(rep.Lost, row)
		case row.wrong():
			rep.Wrong = append(rep.Wrong, row)
		}
	}
	return rep
}

// Types are the event types pressed, each once, sorted.
func (r Report) Types() []string {
	var out []string
	for _, row := range r.Rows {
		out = append(out, row.Type)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r *Row) read(sb *sandbox.Sandbox) {
	req, _ := sb.Request(r.RequestID)
	r.Clicked, r.Closed, r.Outcome = req.Clicked, req.Closed, req.Outcome()
	r.DeadLettered, r.TooEarly, r.Messages = req.DeadLettered, req.TooEarly, nil
	for _, d := range req.Details {
		r.Messages = append(r.Messages, d.Messages...)
	}
}

func (r *Row) wrong() bool {
	if len(r.TooEarly) > 0 {
		return true
	}
	switch r.Expected {
	case Fails:
		said := strings.ToLower(strings.Join(r.Messages, "\n"))
		return r.Outcome != sandbox.Failed || !strings.Contains(said, strings.ToLower(r.Says))
	case DeadLetter:
		return r.Outcome == sandbox.Success
	}
	return r.Outcome == sandbox.Failed || r.DeadLettered
}

// press presses a button, and notes it.
func (p *Play) press(company int64, eventType string, payload map[string]any, want Expectation, says string) (int64, error) {
	id, err := p.sb.Press(company, eventType, payload)
	if err != nil {
		return 0, fmt.Errorf("pressing %s: %w", eventType, err)
	}
	category := catalogue.Unknown
	if row, known := catalogue.Lookup(eventType); known {
		category = string(row.Category)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows = append(p.rows, &Row{RequestID: id, CompanyID: company, Type: eventType, Category: category, Expected: want, Says: says})
	return id, nil
}

func (p *Play) skip(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.skipped = append(p.skipped, fmt.Sprintf(format, args...))
}
