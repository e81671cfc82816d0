// Package app is the runtime of a process: its settings, log, metrics, connection to the broker, health checks
// and shutdown. It knows no service. Package [github.com/tieback/tieback/pkg/app/tenant] adds what only services
// that serve companies need: the companies file, Procore and the ERPs.
package app

import (
	"context"
	"crypto/x509"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/telemetry"
)

// App is what a service gets from its process. Its fields are set before a service runs and do not change after that.
type App struct {
	Name     string // of the service or command, in logs and metrics
	Settings settings.Settings
	Log      *zap.Logger
	Registry *prometheus.Registry
	Bus      *bus.Bus      // nil until Connect has succeeded
	Backoff  time.Duration // before a second attempt; 0: 1 s
	Reread   time.Duration // how often files with secrets are read again; 0: RereadEvery
	Slow     time.Duration // until an event is reported as in progress; 0: a minute

	Certificates *telemetry.Certificates // exported; New adds those of the broker

	waiting atomic.Pointer[error]
}

// SetWaiting makes the process not ready for a reason; nil: for none. It may be called concurrently.
func (a *App) SetWaiting(why error) { a.waiting.Store(&why) }

// Waiting returns the reason that SetWaiting was called with last; nil: none.
func (a *App) Waiting() error {
	if why := a.waiting.Load(); why != nil {
		return *why
	}
	return nil
}

// RereadEvery is how often files with secrets are read again. A rotated secret takes effect at the second reading
// that finds it; see company.Watcher and tokenhash.File.
const RereadEvery = 5 * time.Second

// Service runs until ctx ends. Then it returns nil or the context's error.
type Service func(ctx context.Context, a *App) error

// New reads the settings through getenv (os.Getenv), opens the log and the metrics, and sets the memory limit of the process. Its
// error is a mistake in the settings.
func New(name string, getenv func(string) string) (*App, error) {
	s, err := settings.Load(getenv)
	if err != nil {
		return nil, err
	}
	log, err := Logger(s)
	if err != nil {
		return nil, err
	}
	tuneGC(getenv, os.DirFS("/"))
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), telemetry.BuildInfo(name))
	a := &App{Name: name, Settings: s, Log: log.With(zap.String("service", name)), Registry: reg, Certificates: &telemetry.Certificates{}}
	reg.MustRegister(a.Certificates)
	if s.NATSCAFile != "" {
		a.Certificates.Add(func() []telemetry.Certificate { return authorities("broker_ca", s.NATSCAFile) })
	}
	return a, nil
}

// authorities returns the certificate authorities in a file as one certificate; none if the file can't be read, which is an error where
// it is used.
func authorities(use, file string) []telemetry.Certificate {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return []telemetry.Certificate{{Use: use, Expires: telemetry.AuthoritiesExpire(telemetry.ParseCertificates(raw))}}
}

// Logger writes JSON lines to standard error, without sampling.
func Logger(s settings.Settings) (*zap.Logger, error) {
	cfg := zap.NewProductionConfig()
	cfg.Level, cfg.Sampling, cfg.DisableStacktrace, cfg.DisableCaller = zap.NewAtomicLevelAt(s.LogLevel), nil, true, true
	cfg.EncoderConfig.EncodeTime, cfg.EncoderConfig.TimeKey = zapcore.RFC3339NanoTimeEncoder, "time"
	return cfg.Build()
}

// Connect connects to the broker and sets Bus. It waits for the broker until ctx ends, so that services and broker
// may start in any order. The caller sets o.Name and either o.URL or o.InProcess; the settings have the rest.
func (a *App) Connect(ctx context.Context, o bus.Options) error {
	o.Replicas, o.Retention, o.MaxBytes, o.Log = a.Settings.Replicas, a.Settings.Retention, a.Settings.MaxBytes, a.Log
	if o.InProcess == nil { // the embedded broker has no port and asks for no key
		o.NKeyFile, o.CAFile, o.TopologyManaged = a.Settings.NATSNKeyFile, a.Settings.NATSCAFile, a.Settings.TopologyManaged
	}
	if a.Certificates != nil {
		var expires atomic.Pointer[time.Time] // nil: there was no TLS handshake
		o.Offered = func(chain []*x509.Certificate) {
			at := telemetry.ChainExpires(chain)
			expires.Store(&at)
		}
		a.Certificates.Add(func() []telemetry.Certificate {
			at := expires.Load()
			if at == nil {
				return nil
			}
			return []telemetry.Certificate{{Use: "broker", Expires: *at}}
		})
	}
	b, err := bus.Connect(ctx, o)
	a.Bus = b
	return err
}
