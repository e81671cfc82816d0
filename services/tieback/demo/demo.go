// Package demo implements `tieback demo`: simulated accountants raise all event types in a sandbox of Procore, the pipeline in
// this process handles them, and a report compares the result with what was expected.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/sandbox/scenario"
	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// speed is the speed of the sandbox's clock: an hour of limits and backoffs takes a minute.
const speed = 60

// Options are the flags of `tieback demo`, and what the program provides.
type Options struct {
	Keep bool
	Seed uint64
	ERP  ERP // nil: the embedded ledger
	// Console returns a console for Keep. It serves on l and calls link with a link that signs its first user in. nil: no console.
	Console func(l net.Listener, data string, link func(string)) tenant.Service
}

// demo is a running demo.
type demo struct {
	Options
	out      io.Writer
	data     string
	sandbox  *sandbox.Sandbox
	url      string // of the sandbox
	listener net.Listener
	secrets  local.Secrets
	pipeline *run.Pipeline
	driver   connector.Driver // for the ERP's own users, and to read the books
	caps     *tiebackv1.CapabilitiesResponse
	erp      Started
	calls    *callCounter
	admin    string      // address of metrics and health
	console  chan string // gets the link of the console, if it is served
}

// Run runs the demo, prints its progress and the report to out, and reports whether all events ended as they should.
func Run(ctx context.Context, o Options, out io.Writer) (bool, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if o.ERP == nil {
		o.ERP = embeddedLedger
	}
	s := &demo{Options: o, out: out, secrets: local.NewSecrets(), calls: newCallCounter(), console: make(chan string, 1)}
	defer s.close()
	if err := s.open(ctx); err != nil {
		return false, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.sandbox.Run(ctx) })
	g.Go(func() error { return s.pipeline.Run(ctx, s.listener) })
	g.Go(func() error { return s.watchStreams(ctx) })
	ok := false
	g.Go(func() error {
		defer stop()
		var err error
		ok, err = s.runScenario(ctx)
		if err == nil && o.Keep {
			s.keepServing(ctx)
		}
		return err
	})
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return ok, err
}

func (s *demo) close() {
	if s.driver != nil {
		_ = s.driver.Close() // nothing is left to write
	}
	if s.pipeline != nil {
		s.pipeline.Close()
	}
	if s.erp.Stop != nil {
		if err := s.erp.Stop(); err != nil {
			fmt.Fprintf(os.Stderr, "tieback demo: %v\n", err)
		}
	}
}

// open opens the data directory, the sandbox, the ERP and the pipeline.
func (s *demo) open(ctx context.Context) (err error) {
	if s.data, err = dataDir(); err != nil {
		return err
	}
	if s.listener, err = listen("TIEBACK_INGEST_ADDR", "127.0.0.1:0"); err != nil {
		return err
	}
	admin, err := listen("TIEBACK_ADMIN_ADDR", "127.0.0.1:9090")
	if err != nil {
		return err
	}
	s.admin = admin.Addr().String()
	if err := admin.Close(); err != nil { // the pipeline listens on it
		return err
	}
	s.sandbox = sandbox.New(sandbox.Config{Speed: speed, Seed: s.Seed, APIVersion: sandbox.Rotate, DuplicateFraction: 0.1})
	err = s.sandbox.AddCompany(sandbox.Company{
		ID: local.CompanyID, Name: "Acme Builders", ClientID: local.ClientID, ClientSecret: s.secrets.ClientSecret,
		WebhookURL: local.WebhookURL(s.listener), WebhookToken: s.secrets.WebhookToken, StandardCostCodeListID: local.CostCodeList,
	})
	if err != nil {
		return err
	}
	if s.url, err = local.Serve(ctx, s.sandbox.Handler()); err != nil {
		return err
	}
	if s.erp, err = s.ERP(ctx, s.data, s.out); err != nil {
		return err
	}
	s.pipeline, err = local.Open(ctx, local.Parts{
		Connector: s.erp.Connector, Drivers: s.erp.Drivers,
		Data: s.data, ProcoreURL: s.url, AdminAddr: s.admin, LogLevel: logLevel(), Backoff: time.Second / speed,
		NATSURL: os.Getenv("TIEBACK_NATS_URL"), Secrets: s.secrets,
	})
	if err != nil {
		return err
	}
	if s.Keep && s.Console != nil {
		if err := s.openConsole(); err != nil {
			return err
		}
	}
	return s.connect(ctx)
}

// openConsole has the pipeline serve the console.
func (s *demo) openConsole() error {
	l, err := listen("TIEBACK_CONSOLE_ADDR", "127.0.0.1:8090")
	if err != nil {
		return err
	}
	s.pipeline.Console = s.Console(l, s.data, func(link string) { s.console <- link })
	return nil
}

// listen listens on the address of an environment variable. If it is not set, it listens on the usual address, or on a free port
// if that is taken.
func listen(variable, usual string) (net.Listener, error) {
	if addr := os.Getenv(variable); addr != "" {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		return l, nil
	}
	l, err := net.Listen("tcp", usual)
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	return l, err
}

// logLevel is error by default, as the events that fail on purpose would fill the log with warnings.
func logLevel() zapcore.Level {
	l, err := zapcore.ParseLevel(cmp.Or(os.Getenv("TIEBACK_LOG_LEVEL"), "error"))
	if err != nil {
		return zapcore.ErrorLevel
	}
	return l
}

// runScenario runs the accountants and prints the report.
func (s *demo) runScenario(ctx context.Context) (bool, error) {
	fmt.Fprintf(s.out, "The whole pipeline runs in this process. Procore is a sandbox at %s. The ERP is %s %s with the driver %s. All data is in %s.\n",
		s.url, s.caps.Name, s.caps.Version, s.erp.Connector["driver"], s.data)
	play := scenario.New(s.sandbox, scenario.Config{
		ERPs: map[int64]scenario.ERP{local.CompanyID: erpUser{s.driver, local.CompanyID}}, Cannot: s.unsupported(), OneCurrency: s.oneCurrency(), Seed: s.Seed,
	})
	progress, done := context.WithCancel(ctx)
	shown := make(chan struct{})
	go func() { defer close(shown); s.progress(progress, play) }()
	err := play.Run(ctx)
	done()
	<-shown
	if err != nil {
		return false, err
	}
	return s.report(ctx, play.Report())
}

// keepServing serves until ctx ends. It prints commands to try.
func (s *demo) keepServing(ctx context.Context) {
	fmt.Fprintf(s.out, `
Still serving; stop with Ctrl-C. To press buttons and to make Procore fail: %[1]s/sandbox/
Commands to try:
  export a new vendor             curl -X POST %[1]s/sandbox/companies/%[2]d/press/create_vendor
  the state of its request        curl %[1]s/sandbox/requests/ERP_REQUEST_ID
  the calls to Procore's API      curl %[1]s/sandbox/calls
  a delivery with a wrong token   curl -i -X POST http://%[3]s/webhooks/procore/%[2]d -H 'Authorization: Bearer wrong' -d '{}'
  metrics and health              curl http://%[4]s/metrics
  find a request                  TIEBACK_DATA=%[5]s bin/tieback requests acme
  what needs attention            TIEBACK_DATA=%[5]s bin/tieback status
`, s.url, int64(local.CompanyID), s.listener.Addr(), s.admin, s.data)
	if s.erp.Ledger {
		fmt.Fprintf(s.out, "  the ERP's books                 TIEBACK_DATA=%s bin/tieback ledger list vendor --company %d\n", s.data, int64(local.CompanyID))
	}
	select {
	case link := <-s.console:
		fmt.Fprintf(s.out, "The console, with all of these requests (the link signs in once): %s\n", link)
	case <-ctx.Done():
	}
	<-ctx.Done()
}
