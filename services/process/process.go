// Package process is what the mains of the services share: settings checked at the door,
// the log, the metrics and health port, the broker, Procore; then one service until a signal.
package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/remote"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/telemetry"
	"github.com/tieback/tieback/services/tryton"
)

// Process is what a service finds in its process.
type Process struct {
	Settings  settings.Settings
	Log       *zap.Logger
	Registry  *prometheus.Registry
	Metrics   *telemetry.Stages
	Calls     *connector.Metrics
	Companies company.Set
	Unserved  int // entries of the companies file that were left out, as they have a mistake
	Procore   *procore.Client
	Bus       *bus.Bus
	Drivers   connector.Drivers
	ERPs      *connector.Shared // of Drivers
	Backoff   time.Duration     // before a second attempt; 0: 1 s
	Look      time.Duration     // how often secrets are read again; 0: 5 s
	Slow      time.Duration     // until an event is told as in progress; 0: a minute

	name string // of its service
}

// Service runs until its context ends.
type Service func(context.Context, *Process) error

// Main runs one service as a program and returns its exit code: 0 stopped by a signal,
// 1 failed, 2 refused to start because of its settings.
//
// With the argument healthcheck it asks the service of its container whether it is ready,
// for an orchestrator: the images have no shell.
func Main(name string, run Service) int { return program(name, LoadServing, run) }

// MainAlone is Main for a service that reads no companies file: Companies, Procore and ERPs stay empty.
func MainAlone(name string, run Service) int { return program(name, loadAlone, run) }

func program(name string, load func(string) (*Process, error), run Service) int {
	if len(os.Args) > 1 && os.Args[1] == "healthcheck" {
		return healthcheck()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := load(name)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 2
	}
	if p.Settings.NATSURL == "" {
		fmt.Fprintf(os.Stderr, "%s: TIEBACK_NATS_URL is not set: a separate service needs a broker (nats://host:4222)\n", name)
		return 2
	}
	if err := p.serve(ctx, name, run); err != nil && ctx.Err() == nil {
		p.Log.Error("stopped", zap.Error(err))
		return 1
	}
	return 0
}

func healthcheck() int {
	s, err := settings.Load(os.Getenv)
	if err == nil {
		err = telemetry.Ready(s.AdminAddr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Load reads and checks the settings and the companies file; one mistake refuses all. It is for
// commands that say something of all companies, or change something: somebody is there to correct it.
func Load(name string) (*Process, error) { return LoadFrom(name, os.Getenv) }

// LoadFrom is Load with an environment of its own.
func LoadFrom(name string, getenv func(string) string) (*Process, error) {
	return load(name, getenv, true)
}

// LoadServing is Load for services, and for commands that look after them: a company whose entry has a mistake is not
// served, logged and counted, and the others are served. It fails where none is left.
func LoadServing(name string) (*Process, error) { return load(name, os.Getenv, false) }

func load(name string, getenv func(string) string, strict bool) (*Process, error) {
	s, err := settings.Load(getenv)
	if err != nil {
		return nil, err
	}
	var companies company.Set
	var mistakes []error
	if strict {
		companies, err = company.Load(s.Companies)
	} else {
		companies, mistakes, err = company.LoadValid(s.Companies)
	}
	if err != nil {
		return nil, err
	}
	log, err := Logger(s)
	if err != nil {
		return nil, err
	}
	p := &Process{name: name, Settings: s, Companies: companies, Log: log.With(zap.String("service", name)), Registry: prometheus.NewRegistry(),
		Drivers: connector.Drivers{"remote": remote.Open, "tryton": tryton.Open}}
	p.ERPs = connector.NewShared(p.Drivers)
	p.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), telemetry.BuildInfo(name))
	if p.Metrics, err = telemetry.NewStages(p.Registry); err != nil {
		return nil, err
	}
	if p.Calls, err = connector.NewMetrics(p.Registry); err != nil {
		return nil, err
	}
	p.Unserved = len(mistakes)
	if err := p.tellUnserved(mistakes); err != nil {
		return nil, err
	}
	routes, err := procore.LoadRoutes(s.Routes)
	if err != nil {
		return nil, err
	}
	p.Procore, err = procore.New(procore.Config{APIURL: s.ProcoreAPIURL, LoginURL: s.ProcoreLoginURL, Routes: routes}, companies, p.Registry)
	return p, err
}

// loadAlone reads the settings, and nothing else.
func loadAlone(name string) (*Process, error) {
	s, err := settings.Load(os.Getenv)
	if err != nil {
		return nil, err
	}
	log, err := Logger(s)
	if err != nil {
		return nil, err
	}
	p := &Process{name: name, Settings: s, Log: log.With(zap.String("service", name)), Registry: prometheus.NewRegistry()}
	p.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), telemetry.BuildInfo(name))
	return p, nil
}

// NotServed is the mistake of whoever asks for a company that is none of these.
func (p *Process) NotServed(id int64) error {
	ids := fmt.Sprint(slices.Sorted(maps.Keys(p.Companies)))
	err := fmt.Errorf("--company %d: is not in the companies file, which has %s", id, strings.ReplaceAll(strings.Trim(ids, "[]"), " ", ", "))
	if p.Unserved > 0 {
		err = fmt.Errorf("%w; entries with a mistake are left out: tieback doctor says what to correct", err)
	}
	return err
}

// tellUnserved tells of the companies that are not served, as their entries have a mistake.
func (p *Process) tellUnserved(mistakes []error) error {
	for _, err := range mistakes {
		p.Log.Error("a company is not served: correct its entry in the companies file, then restart Tieback", zap.String("file", p.Settings.Companies), zap.Error(err))
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tieback_companies_unserved", Help: "Entries of the companies file that were left out at the start, as they have a mistake.",
	})
	g.Set(float64(p.Unserved))
	return p.Registry.Register(g)
}

// Logger writes JSON lines to standard error, unsampled: one line for each attempt.
func Logger(s settings.Settings) (*zap.Logger, error) {
	cfg := zap.NewProductionConfig()
	cfg.Level, cfg.Sampling, cfg.DisableStacktrace, cfg.DisableCaller = zap.NewAtomicLevelAt(s.LogLevel), nil, true, true
	cfg.EncoderConfig.EncodeTime, cfg.EncoderConfig.TimeKey = zapcore.RFC3339NanoTimeEncoder, "time"
	return cfg.Build()
}

// Connect reaches the broker; services and broker may start in any order.
func (p *Process) Connect(ctx context.Context, o bus.Options) error {
	o.Replicas, o.MaxBytes, o.Log = p.Settings.Replicas, p.Settings.MaxBytes, p.Log
	if o.InProcess == nil { // the embedded broker has no port and asks for no key
		o.NKeyFile, o.CAFile, o.Made = p.Settings.NATSNKeyFile, p.Settings.NATSCAFile, p.Settings.Made
	}
	if p.Procore != nil { // a service that reads no companies file calls nobody
		p.Procore.LogTo(p.Log)
	}
	b, err := bus.Connect(ctx, o)
	if p.Bus = b; err != nil || o.InProcess != nil || !bus.CallsProcore(o.Name) { // nobody else is on an embedded broker
		return err
	}
	quota, err := b.OpenQuota(ctx, o.Replicas)
	if err == nil {
		p.Procore.ShareLimits(quota)
	}
	return err
}

// errEarly is why a service is not ready when it has just started.
var errEarly = errors.New("waiting for the broker, or for what `streams` makes there")

// serve runs the service beside its admin port; the first to end stops the other. The port answers before
// the broker does: whoever waits for it is alive, though not ready, and need not be started again.
func (p *Process) serve(ctx context.Context, name string, run Service) error {
	stopTraces, err := telemetry.StartTraces(ctx, name, p.Settings.Traces, p.Log)
	if err != nil {
		return err
	}
	defer stopTraces()
	var connected atomic.Pointer[bus.Bus]
	defer func() {
		if p.Bus != nil {
			p.Bus.Close()
		}
	}()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return telemetry.ServeAdmin(ctx, p.Settings.AdminAddr, p.Registry, func() error {
			if b := connected.Load(); b != nil {
				return b.Healthy()
			}
			return errEarly
		})
	})
	if p.Companies != nil {
		g.Go(func() error { return p.WatchSecrets(ctx) })
	}
	g.Go(func() error {
		if err := p.Connect(ctx, bus.Options{URL: p.Settings.NATSURL, Name: name}); err != nil {
			return err
		}
		connected.Store(p.Bus)
		g.Go(func() error { return p.ReportTroubles(ctx) })
		start := time.Now()
		p.Log.Info("running", zap.Int("companies", len(p.Companies)), zap.String("admin", p.Settings.AdminAddr))
		err := run(ctx, p)
		if err == nil && ctx.Err() == nil {
			err = errors.New("the service ended by itself")
		}
		p.Log.Info("service ended", zap.Duration("after", time.Since(start)))
		return err
	})
	return g.Wait()
}
