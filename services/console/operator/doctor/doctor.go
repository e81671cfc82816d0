// Package doctor checks an installation and says what to do about each problem. It changes nothing. Each check has a
// timeout, so that the others run if one part is down.
package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/connection"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/telemetry"
)

// Level says how bad a finding is.
type Level string

// The levels. A warning works, or may go away by itself; a problem needs action.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem"
)

// Finding is one result of a check.
type Finding struct {
	Check   string `json:"check"`                // settings, broker, webhook, …
	Company int64  `json:"company_id,omitempty"` // 0: of no company
	Level   Level  `json:"level"`
	Text    string `json:"text"`             // one line
	Action  string `json:"action,omitempty"` // what to do; "": nothing
}

// Report is the result of all checks.
type Report struct {
	Findings []Finding `json:"findings"`
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
}

// Broker returns how to connect to the broker, and a function to call afterwards, which may be nil. If the embedded broker
// can't be opened, unchecked says why, which is not a problem.
type Broker func() (o bus.Options, done func(), unchecked string, err error)

// Doctor checks one installation, once.
type Doctor struct {
	Settings      settings.Settings
	Mistakes      error                                      // of the settings
	Companies     company.Set                                // those whose entry is valid
	EntryMistakes []error                                    // of the companies file
	Only          []int64                                    // check only these companies; empty: all
	Procore       func(company.Set) (*procore.Client, error) // returns a client for some of Companies
	Drivers       connector.Drivers
	Bus           *bus.Bus      // a connection that is checked; nil: Broker makes one
	Broker        Broker        // not used with Bus
	Admin         []string      // host:port of services' admin ports
	OptionalAdmin string        // an admin port that need not answer; used if Admin is empty; "": none
	Version       string        // of this program
	Client        *http.Client  // nil: a client with a timeout of 5 s
	Timeout       time.Duration // of each check; 0: 15 s
	MaxPull       time.Duration // the longest time between two pulls of an idle service; 0: 5 s

	links map[int64]map[state.Linked]state.Link // by company; nil: the broker did not answer
}

// findings collects findings. It may be used concurrently.
type findings struct {
	mu      sync.Mutex
	all     []Finding
	company int64
}

func (r *findings) add(check string, level Level, action, format string, args ...any) {
	r.addOf(r.company, check, level, action, format, args...)
}

// addOf adds a finding of a company.
func (r *findings) addOf(company int64, check string, level Level, action, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, Finding{Check: check, Company: company, Level: level, Text: oneLine(fmt.Sprintf(format, args...)), Action: action})
}

func (r *findings) ok(check, format string, args ...any) { r.add(check, OK, "", format, args...) }

func (r *findings) warn(check, action, format string, args ...any) {
	r.add(check, Warning, action, format, args...)
}

func (r *findings) problem(check, action, format string, args ...any) {
	r.add(check, Problem, action, format, args...)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Examine makes all checks. The order of the findings is always the same. Independent checks are made concurrently.
func (d *Doctor) Examine(ctx context.Context) Report {
	d.defaults()
	own, broker, services := &findings{}, &findings{}, &findings{}
	d.checkSettings(own)
	d.checkCompaniesFile(own)
	d.checkData(own)
	var wait sync.WaitGroup
	wait.Go(func() { d.checkBroker(ctx, broker) })
	wait.Go(func() { d.checkServices(ctx, services) })
	companies := map[int64]*findings{}
	var mu sync.Mutex
	apis := map[int64]*connection.API{} // of the companies whose calls Procore accepts
	slots := make(chan struct{}, 8)
	for id, c := range d.Companies {
		if !d.selected(id) {
			continue
		}
		r := &findings{company: id}
		companies[id] = r
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if api := d.checkCompany(ctx, r, c); api != nil {
				mu.Lock()
				apis[id] = api
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	for id, api := range apis { // after checkBroker has read the links
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			d.checkProjects(ctx, companies[id], api)
		})
	}
	wait.Wait()
	all := slices.Concat(own.all, broker.all, services.all)
	for _, id := range sorted(companies) {
		all = append(all, companies[id].all...)
	}
	return newReport(all)
}

// selected reports whether a company is checked.
func (d *Doctor) selected(id int64) bool { return len(d.Only) == 0 || slices.Contains(d.Only, id) }

// Of returns a doctor for the installation that a running process belongs to. It uses the connections of the process, and reads
// the companies file again for mistakes that were made since the process started. The process must be connected.
func Of(a *tenant.App) *Doctor {
	d := &Doctor{
		Settings: a.Settings, Companies: a.Companies, Drivers: a.Drivers, Bus: a.Bus, Version: telemetry.Version,
		Procore: func(company.Set) (*procore.Client, error) { return a.Procore, nil },
	}
	var err error
	if _, d.EntryMistakes, err = company.Load(a.Settings.Companies); err != nil {
		d.EntryMistakes = append(d.EntryMistakes, err)
	}
	return d
}

func (d *Doctor) defaults() {
	if d.Client == nil {
		d.Client = &http.Client{Timeout: 5 * time.Second}
	}
	if d.Timeout == 0 {
		d.Timeout = 15 * time.Second
	}
	if d.MaxPull == 0 {
		d.MaxPull = 5 * time.Second
	}
}

func newReport(all []Finding) Report {
	r := Report{Findings: all}
	for _, f := range all {
		switch f.Level {
		case Problem:
			r.Problems++
		case Warning:
			r.Warnings++
		}
	}
	return r
}

// Worst returns the level of the worst finding.
func (r Report) Worst() Level {
	switch {
	case r.Problems > 0:
		return Problem
	case r.Warnings > 0:
		return Warning
	}
	return OK
}

// Summary returns the counts in one sentence.
func (r Report) Summary() string {
	return fmt.Sprintf("%d ok, %d warnings, %d problems.", len(r.Findings)-r.Problems-r.Warnings, r.Warnings, r.Problems)
}

func sorted[V any](m map[int64]V) []int64 {
	ids := make([]int64, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
