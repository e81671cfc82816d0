// Package demo plays a company's accountants through all event types against the whole
// pipeline in this process, and tells how it went.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/sandbox/accountants"
	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// speed makes an hour of Procore's limits and backoffs a minute.
const speed = 60

// Options are the demo's flags.
type Options struct {
	Keep    bool
	Seed    uint64
	ERP     string // ledger, tryton, remote; "": ledger
	Address string // of a connector that runs already, for remote; "": one is started
}

// stage is the demo while it runs.
type stage struct {
	Options
	out      io.Writer
	data     string
	sandbox  *sandbox.Sandbox
	url      string // of the sandbox
	listener net.Listener
	secrets  local.Secrets
	pipeline *run.Pipeline
	driver   connector.Driver // the demo's own
	caps     *tiebackv1.CapabilitiesResponse
	stop     []func() error // what bringing up the ERP left to stop
	tally    *tally
}

// Run plays the demo, prints its progress and results, and says whether all went well.
func Run(ctx context.Context, o Options, out io.Writer) (bool, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o.ERP = cmp.Or(o.ERP, "ledger")
	s := &stage{Options: o, out: out, secrets: local.NewSecrets(), tally: newTally()}
	defer s.close()
	if err := s.set(ctx); err != nil {
		return false, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.sandbox.Run(ctx) })
	g.Go(func() error { return s.pipeline.Run(ctx, s.listener) })
	g.Go(func() error { return s.listen(ctx) })
	ok := false
	g.Go(func() error {
		defer stop()
		var err error
		ok, err = s.play(ctx)
		if err == nil && o.Keep {
			s.keep(ctx)
		}
		return err
	})
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return ok, err
}

func (s *stage) close() {
	if s.driver != nil {
		_ = s.driver.Close() // it only read
	}
	if s.pipeline != nil {
		s.pipeline.Close()
	}
	for _, stop := range slices.Backward(s.stop) {
		if err := stop(); err != nil {
			fmt.Fprintf(os.Stderr, "tieback demo: %v\n", err)
		}
	}
}

// set opens everything: the data folder, the sandbox, the pipeline.
func (s *stage) set(ctx context.Context) (err error) {
	if s.data, err = dataFolder(); err != nil {
		return err
	}
	addr := os.Getenv("TIEBACK_INGEST_ADDR")
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if s.listener, err = net.Listen("tcp", addr); err != nil {
		return fmt.Errorf("TIEBACK_INGEST_ADDR: %w", err)
	}
	s.sandbox = sandbox.New(sandbox.Config{Speed: speed, Seed: s.Seed, APIVersion: sandbox.Rotate, DuplicateEvery: 10})
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
	settings, err := s.bringUp(ctx)
	if err != nil {
		return err
	}
	s.pipeline, err = local.Open(ctx, local.Parts{
		Connector: settings,
		Data:      s.data, ProcoreURL: s.url, AdminAddr: adminAddr(), LogLevel: logLevel(), Backoff: time.Second / speed,
		NATSURL: os.Getenv("TIEBACK_NATS_URL"), Secrets: s.secrets,
	})
	if err != nil {
		return err
	}
	return s.connect(ctx)
}

func adminAddr() string {
	if v := os.Getenv("TIEBACK_ADMIN_ADDR"); v != "" {
		return v
	}
	return "127.0.0.1:9090"
}

// logLevel keeps the log out of the picture: what fails on purpose would fill it.
func logLevel() zapcore.Level {
	if l, err := zapcore.ParseLevel(os.Getenv("TIEBACK_LOG_LEVEL")); err == nil && os.Getenv("TIEBACK_LOG_LEVEL") != "" {
		return l
	}
	return zapcore.ErrorLevel
}

// play runs the accountants and reports.
func (s *stage) play(ctx context.Context) (bool, error) {
	fmt.Fprintf(s.out, "Tieback, whole, in one process. Procore is a sandbox at %s, the ERP %s %s by the driver %s; all is kept in %s.\n",
		s.url, s.caps.Name, s.caps.Version, s.ERP, s.data)
	play := accountants.New(s.sandbox, accountants.Config{
		ERPs: map[int64]accountants.ERP{local.CompanyID: hands{s.driver, local.CompanyID}}, Cannot: s.cannot(), OneCurrency: s.oneCurrency(), Seed: s.Seed,
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

// keep serves until ctx ends and says what there is to see.
func (s *stage) keep(ctx context.Context) {
	fmt.Fprintf(s.out, `
Still serving; stop with Ctrl-C. To try by hand:
  press Export on a new vendor    curl -X POST %[1]s/sandbox/companies/%[2]d/press/create_vendor
  how its request stands          curl %[1]s/sandbox/requests/ERP_REQUEST_ID
  what Procore was asked          curl %[1]s/sandbox/calls
  a delivery that is not ours     curl -i -X POST http://%[3]s/webhooks/procore/%[2]d -H 'Authorization: Bearer wrong' -d '{}'
  metrics and health              curl http://%[4]s/metrics
`, s.url, int64(local.CompanyID), s.listener.Addr(), adminAddr())
	if s.ERP != "tryton" && s.Address == "" { // then the ERP is the ledger
		fmt.Fprintf(s.out, "  the ERP's books                 TIEBACK_DATA=%s go run ./services/tieback ledger list vendor --company %d\n", s.data, int64(local.CompanyID))
	}
	<-ctx.Done()
}
