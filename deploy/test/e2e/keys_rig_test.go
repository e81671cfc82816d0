package endtoend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/services/connectors/ledger"
	lagexporter "github.com/tieback/tieback/services/lag-exporter"
	"github.com/tieback/tieback/services/provisioner"
	"github.com/tieback/tieback/services/tieback/run"
)

// guarded is a broker with the accounts and keys that `provisioner keys` wrote.
type guarded struct {
	t    *testing.T
	dir  string // of the keys and the broker
	url  string
	said *buffer // the broker's log

	server  *server.Server
	options *server.Options
	owner   jetstream.JetStream // with all rights on the streams
}

func newGuarded(t *testing.T, flags ...string) *guarded {
	t.Helper()
	g := &guarded{t: t, dir: t.TempDir(), said: &buffer{}}
	g.provision(0, append(append([]string{"keys"}, flags...), filepath.Join(g.dir, "keys"))...)
	conf := filepath.Join(g.dir, "nats.conf")
	err := os.WriteFile(conf, fmt.Appendf(nil, `
listen: "127.0.0.1:-1"
max_payload: 8MB
jetstream { store_dir: %q, sync_interval: always }
accounts { include "keys/users.conf" }
`, filepath.Join(g.dir, "jetstream")), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	g.server = serve(t, conf, g)
	g.url = g.server.ClientURL()
	nc, err := nats.Connect(g.url, nats.UserInfo("owner", "x"), nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if g.owner, err = jetstream.New(nc, jetstream.WithDefaultTimeout(patience)); err != nil {
		t.Fatal(err)
	}
	return g
}

// serve starts a broker with a configuration file. If that has the account of the streams, serve adds a user with all rights to
// it, owner, for the tests.
func serve(t *testing.T, conf string, g *guarded) *server.Server {
	t.Helper()
	o, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs = true
	g.options = o
	for _, a := range o.Accounts {
		if a.GetName() == "tieback" {
			o.Users = append(o.Users, &server.User{Username: "owner", Password: "x", Account: a})
		}
	}
	ns, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ns.SetLoggerV2(g, false, false, false)
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(patience) {
		t.Fatal("the broker did not start")
	}
	return ns
}

func (g *guarded) key(service string) string { return filepath.Join(g.dir, "keys", service+".nk") }

// provision runs the provisioner, checks its exit code, and returns its output.
func (g *guarded) provision(want int, args ...string) string {
	g.t.Helper()
	env := map[string]string{"TIEBACK_NATS_URL": g.url, "TIEBACK_NATS_NKEY_FILE": g.key("provisioner"), "TIEBACK_LOG_LEVEL": "error"}
	var out, errs bytes.Buffer
	if got := provisioner.Run(g.t.Context(), args, func(name string) string { return env[name] }, &out, &errs); got != want {
		g.t.Fatalf("provisioner %v: exit code %d, want %d: %s", args, got, want, errs.String())
	}
	return out.String() + errs.String()
}

// The broker's log; see server.Logger.

func (g *guarded) say(format string, v ...any)     { fmt.Fprintf(g.said, format+"\n", v...) }
func (g *guarded) Noticef(format string, v ...any) { g.say(format, v...) }
func (g *guarded) Warnf(format string, v ...any)   { g.say(format, v...) }
func (g *guarded) Fatalf(format string, v ...any)  { g.say(format, v...) }
func (g *guarded) Errorf(format string, v ...any)  { g.say(format, v...) }
func (g *guarded) Debugf(format string, v ...any)  { g.say(format, v...) }
func (g *guarded) Tracef(format string, v ...any)  { g.say(format, v...) }

// violations returns the lines of a log that report missing permissions.
func violations(log string) []string {
	var found []string
	for line := range strings.Lines(log) {
		if low := strings.ToLower(line); strings.Contains(low, "violation") || strings.Contains(low, "authorization") {
			found = append(found, line)
		}
	}
	return found
}

// processOf returns the process of a service, with its key.
func (w *world) processOf(g *guarded, service string) *tenant.App {
	w.Helper()
	env := map[string]string{
		"TIEBACK_DATA": w.data, "TIEBACK_COMPANIES": w.file, "TIEBACK_ADMIN_ADDR": "127.0.0.1:0",
		"TIEBACK_NATS_URL": g.url, "TIEBACK_NATS_NKEY_FILE": g.key(service), "TIEBACK_NATS_TOPOLOGY": "managed",
		"TIEBACK_PROCORE_API_URL": w.url, "TIEBACK_PROCORE_LOGIN_URL": w.url, "TIEBACK_LOG_LEVEL": "debug", "TIEBACK_SWEEP_EVERY": "1s",
		"TIEBACK_NATS_MAX_BYTES": "1000000000",
	}
	if w.deadline > 0 {
		env["TIEBACK_DEADLINE"] = w.deadline.String()
	}
	p, err := tenant.Load(service, func(name string) string { return env[name] }, tenant.AllCompanies)
	w.must(err)
	p.Backoff, p.Slow, p.Log = w.backoff, w.slow, zap.New(w.log).With(zap.String("service", service))
	return p
}

// runApart runs each service with a connection and a key of its own. It calls meanwhile while they start, and then connects with
// the key of the console, with which operators look and act.
func (w *world) runApart(g *guarded, meanwhile func()) *line {
	w.Helper()
	books := ledger.Open(run.LedgerDir(w.data))
	opener := books.Opener()
	if w.driver != nil {
		opener = w.driver
	}
	ctx, cancel := context.WithCancel(context.Background())
	all, ctx := errgroup.WithContext(ctx)
	for name, run := range run.Services(run.Ingest(w.front.open())) {
		p := w.processOf(g, name)
		p.Drivers["erp"] = opener
		all.Go(func() error { return apart(ctx, g, name, p, run) })
	}
	watch := w.processOf(g, "lag-exporter")
	all.Go(func() error { return apart(ctx, g, "lag-exporter", watch, lagging) })
	meanwhile()
	l := &line{Pipeline: &run.Pipeline{App: w.processOf(g, "console"), Ledger: books}, world: w, cancel: cancel, done: make(chan error, 1)}
	w.must(l.Connect(w.Context(), bus.Options{URL: g.url, Name: "console"}))
	all.Go(func() error { return w.listen(ctx, l.Bus) })
	go func() { l.done <- all.Wait() }()
	w.Cleanup(l.stop)
	return l
}

// lagging runs lag-exporter with a short interval.
func lagging(ctx context.Context, p *tenant.App) error {
	e, err := lagexporter.New(lagexporter.Deps{Log: p.Log, Every: 50 * time.Millisecond}, p.Registry)
	if err != nil {
		return err
	}
	return e.Run(ctx, p.Bus)
}

// apart runs a service as its program does.
func apart(ctx context.Context, g *guarded, name string, p *tenant.App, run tenant.Service) error {
	if err := p.Connect(ctx, bus.Options{URL: g.url, Name: name}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer p.Bus.Close()
	ctx, stop := context.WithCancel(ctx)
	var reporting sync.WaitGroup
	defer reporting.Wait()
	defer stop()
	reporting.Go(func() { _ = p.ReportTroubles(ctx) })
	if err := run(ctx, p); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// connected returns a connection for each service, with its current key.
func (g *guarded) connected() map[string]*nats.Conn {
	all := map[string]*nats.Conn{}
	for _, service := range topology.Users() {
		all[service] = g.as(service)
	}
	return all
}
