// Package tenant is the runtime of a process that serves companies. It adds to package app the companies file, whose secrets may
// be rotated while the process runs, a client of Procore, the companies' ERPs, and reports of the companies whose ERP or Procore
// fails.
package tenant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/telemetry"
)

// App is what a service that serves companies gets from its process.
type App struct {
	*app.App
	Companies company.Set
	Unserved  int // entries of the companies file that were left out because they have a mistake
	Procore   *procore.Client
	Quota     procore.Store // where processes publish what is left of Procore's rate limits; nil: nowhere
	Metrics   *telemetry.Stages
	Calls     *connector.Metrics
	Drivers   connector.Drivers // by name; empty at first, drivers may be added until an ERP is opened
	ERPs      *connector.Shared // of Drivers
}

// Service runs until ctx ends.
type Service func(ctx context.Context, a *App) error

// Main runs a service as a program; see app.Program.Main. A company whose entry in the companies file has a mistake
// is not served; the others are. Drivers are those that the service may open; a service that calls no ERP has none.
func Main(name string, drivers connector.Drivers, run Service) int {
	var a *App
	return app.Program{
		Name: name,
		Load: func(process *app.App) (err error) {
			if a, err = load(process, ValidCompanies); err == nil {
				maps.Copy(a.Drivers, drivers)
				a.Procore.LogTo(a.Log)
			}
			return err
		},
		Background: func(ctx context.Context, _ *app.App) error { return a.WatchSecrets(ctx) },
		Run: func(ctx context.Context, _ *app.App) error {
			if err := a.publishLimits(ctx, name); err != nil {
				return err
			}
			g, ctx := errgroup.WithContext(ctx)
			ctx, stop := context.WithCancel(ctx)
			g.Go(func() error { return a.ReportTroubles(ctx) })
			g.Go(func() error { defer stop(); return run(ctx, a) })
			return g.Wait()
		},
	}.Main()
}

// Selection says which entries of the companies file a process needs.
type Selection int

const (
	// AllCompanies: an entry with a mistake is an error. It is for commands that report on all companies, or change
	// something: their user can correct the mistake.
	AllCompanies Selection = iota
	// ValidCompanies: an entry with a mistake is left out, logged and counted. It is for services, and for the commands
	// that inspect them. It is an error if no company is left.
	ValidCompanies
)

// Load reads the settings through getenv (os.Getenv) and the companies file, and checks them. name is the name of the service
// or command in logs and metrics.
func Load(name string, getenv func(string) string, which Selection) (*App, error) {
	process, err := app.New(name, getenv)
	if err != nil {
		return nil, err
	}
	return load(process, which)
}

func load(process *app.App, which Selection) (*App, error) {
	s := process.Settings
	companies, mistakes, err := company.Load(s.Companies)
	if err == nil && which == AllCompanies && len(mistakes) > 0 {
		err = fmt.Errorf("companies file %s: %w", s.Companies, errors.Join(mistakes...))
	}
	if err != nil {
		return nil, err
	}
	a := &App{App: process, Companies: companies, Unserved: len(mistakes), Drivers: connector.Drivers{}}
	a.ERPs = connector.NewShared(a.Drivers)
	if a.Metrics, err = telemetry.NewStages(a.Registry); err != nil {
		return nil, err
	}
	if a.Calls, err = connector.NewMetrics(a.Registry); err != nil {
		return nil, err
	}
	if err := a.reportUnserved(mistakes); err != nil {
		return nil, err
	}
	routes, err := procore.LoadRoutes(s.Routes)
	if err != nil {
		return nil, err
	}
	if a.Procore, err = procore.New(procore.Config{APIURL: s.ProcoreAPIURL, LoginURL: s.ProcoreLoginURL, Routes: routes}, companies, a.Registry); err != nil {
		return nil, err
	}
	a.Certificates.Add(a.connectorCertificates)
	return a, errors.Join(a.Registry.Register(troublesCollector{a}), a.Registry.Register(names(companies)))
}

// names returns a metric with the names of the companies, for dashboards. A company without a name has its id.
func names(companies company.Set) prometheus.Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tieback_company_info", Help: "1, for each company that the process serves, with its name in the companies file."}, []string{"company", "name"})
	for id, c := range companies {
		label := strconv.FormatInt(id, 10)
		info.WithLabelValues(label, cmp.Or(c.Name, label)).Set(1)
	}
	return info
}

// NotServed is the error for a company that is not in the companies file.
func (a *App) NotServed(id int64) error {
	ids := fmt.Sprint(slices.Sorted(maps.Keys(a.Companies)))
	err := fmt.Errorf("company %d is not in the companies file, which has %s", id, strings.ReplaceAll(strings.Trim(ids, "[]"), " ", ", "))
	if a.Unserved > 0 {
		err = fmt.Errorf("%w; entries with a mistake are left out: run tieback doctor to see what to correct", err)
	}
	return err
}

// reportUnserved logs and counts the companies that are not served because their entry has a mistake.
func (a *App) reportUnserved(mistakes []error) error {
	for _, err := range mistakes {
		a.Log.Error("a company is not served: correct its entry in the companies file, then restart Tieback", zap.String("file", a.Settings.Companies), zap.Error(err))
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tieback_companies_unserved", Help: "Entries of the companies file that were left out at the start, as they have a mistake.",
	})
	g.Set(float64(a.Unserved))
	return a.Registry.Register(g)
}

// Connect is app.App.Connect. Afterwards the process publishes what is left of Procore's rate limits.
func (a *App) Connect(ctx context.Context, o bus.Options) error {
	a.Procore.LogTo(a.Log)
	if err := a.App.Connect(ctx, o); err != nil {
		return err
	}
	if o.InProcess != nil { // no other process is on an embedded broker
		return nil
	}
	return a.publishLimits(ctx, o.Name)
}

// publishLimits publishes the limits of the Procore client at the broker, if the broker's user of this name may.
func (a *App) publishLimits(ctx context.Context, user string) error {
	if !topology.CallsProcore(user) {
		return nil
	}
	quota, err := a.Bus.OpenQuota(ctx, a.Settings.Replicas)
	if err == nil {
		a.Quota = quota
		a.Procore.Publish(quota)
	}
	return err
}
