// Package doctor implements `tieback doctor`: it checks an installation and says how to repair what is wrong. It changes
// nothing. Each check has a timeout, so that the others run whatever is down.
package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/services/tieback/setup"
)

// Level says how bad a finding is.
type Level string

// The levels. A warning works, or may mend itself; a problem needs somebody.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem"
)

// Finding is what a check found.
type Finding struct {
	Check   string `json:"check"`             // "settings", "broker", "hook" …
	Company int64  `json:"company,omitempty"` // 0: of no company
	Level   Level  `json:"level"`
	Text    string `json:"text"`         // one line
	Do      string `json:"do,omitempty"` // what to do about it; "": nothing
}

// Broker gives how to reach the broker, and what to call when done with it. Where the embedded broker can't be
// looked into it says why; that is no finding against anybody.
type Broker func() (o bus.Options, done func(), why string, err error)

// Doctor looks after one installation.
type Doctor struct {
	Settings   settings.Settings
	Mistakes   error                                      // of the settings
	Companies  company.Set                                // those whose entry is right
	Entries    []error                                    // mistakes in the companies file
	OnlyFor    int64                                      // one company; 0: all
	Procore    func(company.Set) (*procore.Client, error) //
	Drivers    connector.Drivers                          //
	Broker     Broker
	Admin      []string      // host:port of services' admin ports
	AdminMaybe string        // one that need not answer; "": none
	Version    string        // ours
	Client     *http.Client  // nil: one with 5 s
	Patience   time.Duration // of each check; 0: 15 s
	Look       time.Duration // how often an idle service asks for work, at the longest; 0: 5 s

	links map[int64]map[state.Linked]state.Link // by company; nil: the broker could not be asked
}

// report gathers findings. Safe for concurrent use.
type report struct {
	mu      sync.Mutex
	all     []Finding
	company int64
}

func (r *report) add(check string, level Level, do, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, Finding{Check: check, Company: r.company, Level: level, Text: oneLine(fmt.Sprintf(format, args...)), Do: do})
}

func (r *report) ok(check, format string, args ...any) { r.add(check, OK, "", format, args...) }

func (r *report) warn(check, do, format string, args ...any) {
	r.add(check, Warning, do, format, args...)
}

func (r *report) problem(check, do, format string, args ...any) {
	r.add(check, Problem, do, format, args...)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Examine makes all checks and gives what they found, always in the same order. Parts that have nothing
// to do with each other are looked at together.
func (d *Doctor) Examine(ctx context.Context) []Finding {
	d.defaults()
	own, broker, services := &report{}, &report{}, &report{}
	d.checkSettings(own)
	d.checkCompaniesFile(own)
	d.checkData(own)
	var wait sync.WaitGroup
	wait.Go(func() { d.checkBroker(ctx, broker) })
	wait.Go(func() { d.checkServices(ctx, services) })
	companies := map[int64]*report{}
	var permitted sync.Mutex
	apis := map[int64]*setup.API{} // of the companies for which calls can be made
	few := make(chan struct{}, 8)
	for id, c := range d.Companies {
		if d.OnlyFor != 0 && d.OnlyFor != id {
			continue
		}
		r := &report{company: id}
		companies[id] = r
		wait.Go(func() {
			few <- struct{}{}
			defer func() { <-few }()
			if api := d.checkCompany(ctx, r, c); api != nil {
				permitted.Lock()
				apis[id] = api
				permitted.Unlock()
			}
		})
	}
	wait.Wait()
	for id, api := range apis { // when the links are read
		wait.Go(func() {
			few <- struct{}{}
			defer func() { <-few }()
			d.checkProjects(ctx, companies[id], api)
		})
	}
	wait.Wait()
	all := slices.Concat(own.all, broker.all, services.all)
	for _, id := range sorted(companies) {
		all = append(all, companies[id].all...)
	}
	return all
}

func (d *Doctor) defaults() {
	if d.Client == nil {
		d.Client = &http.Client{Timeout: 5 * time.Second}
	}
	if d.Patience == 0 {
		d.Patience = 15 * time.Second
	}
	if d.Look == 0 {
		d.Look = 5 * time.Second
	}
}

// Worst is the level of the worst finding.
func Worst(all []Finding) Level {
	worst := OK
	for _, f := range all {
		if f.Level == Problem || f.Level == Warning && worst == OK {
			worst = f.Level
		}
	}
	return worst
}

func sorted[V any](m map[int64]V) []int64 {
	ids := make([]int64, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
