package endtoend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/broker"
	"github.com/tieback/tieback/services/tieback/run"
)

// firstCompany is the id of the first company; the others follow. The ids fit neither a float64 nor 32 bits.
const firstCompany = 598134325841112

// setup configures a world. The zero value: one company, no limits, no faults.
type setup struct {
	companies int                             // 0: 1
	oneClient bool                            // all companies have the same client
	limits    sandbox.Config                  // zero limits: none
	driver    connector.Opener                // nil: the embedded ledger
	tokens    []string                        // webhook tokens of the first company; nil: one
	noHooks   bool                            // the test delivers, not the sandbox
	log       zapcore.Core                    // nil: no log
	backoff   time.Duration                   // 0: 1/60 s
	timeout   time.Duration                   // of a Procore call; 0: 30 s
	deadline  time.Duration                   // of an event; 0: 15 minutes
	slow      time.Duration                   // until an event is reported as in progress; 0: a minute
	around    func(http.Handler) http.Handler // of the sandbox
	zone      string                          // of the companies; "": UTC
	resets    string                          // of each company's entry; "": keep
	since     time.Time                       // of all companies; zero: none
}

// world is a sandbox with its companies, and the data folder of a pipeline. The pipeline may be run several times.
type world struct {
	*testing.T
	setup
	sandbox *sandbox.Sandbox
	url     string
	data    string
	file    string // the companies file
	secret  string // client secret of every company
	token   string // first webhook token of every company
	front   *front

	mu     sync.Mutex
	closed map[int64]*tiebackv1.Outcome
	dead   map[int64]bool
	news   map[int64]chan struct{} // closed when the request is closed
}

func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{
		T: t, setup: s, data: t.TempDir(), secret: "client-secret-0123456789abcdef", token: "webhook-token-0123456789abcdef",
		closed: map[int64]*tiebackv1.Outcome{}, dead: map[int64]bool{}, news: map[int64]chan struct{}{},
	}
	if w.companies == 0 {
		w.companies = 1
	}
	if w.limits.HourlyLimit == 0 {
		w.limits.HourlyLimit, w.limits.SpikeLimit = -1, -1
	}
	if w.backoff == 0 {
		w.backoff = time.Second / 60
	}
	if w.limits.Speed == 0 {
		w.limits.Speed = 60
	}
	w.front = openFront(t)
	w.openSandbox()
	w.writeCompanies()
	return w
}

func (w *world) openSandbox() {
	w.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w.sandbox = sandbox.New(w.limits)
	for i := range w.companies {
		c := sandbox.Company{
			ID: firstCompany + int64(i), Name: fmt.Sprint("Company ", i), ClientID: fmt.Sprint("client-", i), ClientSecret: w.secret,
			WebhookURL: w.webhook(firstCompany + int64(i)), WebhookToken: w.token, StandardCostCodeListID: 2,
		}
		if w.oneClient {
			c.ClientID = "app"
		}
		if w.noHooks {
			c.WebhookURL = ""
		}
		w.must(w.sandbox.AddCompany(c))
	}
	h := w.sandbox.Handler()
	if w.around != nil {
		h = w.around(h)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	w.url = "http://" + l.Addr().String()
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(l) })
	running.Go(func() { _ = w.sandbox.Run(ctx) })
	w.Cleanup(func() {
		stop()
		_ = srv.Close()
		running.Wait()
		for _, v := range w.sandbox.Violations() {
			w.Errorf("request differs from Procore's API: %s", v)
		}
	})
}

func (w *world) webhook(company int64) string {
	return fmt.Sprintf("http://%s/webhooks/procore/%d", w.front.Addr(), company)
}

// writeCompanies writes the companies file, not in the data folder, which tests search for secrets.
func (w *world) writeCompanies() {
	var b strings.Builder
	if w.oneClient {
		fmt.Fprintf(&b, "clients: [{name: app, client_id: app, client_secret: %s}]\n", w.secret)
	}
	since := ""
	if !w.since.IsZero() {
		since = w.since.Format(time.RFC3339)
	}
	b.WriteString("companies:\n")
	for i := range w.companies {
		tokens := append([]string{w.token}, w.tokens...)
		client := fmt.Sprintf("client_id: client-%d, client_secret: %s", i, w.secret)
		if w.oneClient {
			client = "client: app"
		}
		fmt.Fprintf(&b, "  - {id: %d, name: C%d, %s, webhook_tokens: [%s], standard_cost_code_list_id: 2, time_zone: %q, connector: {driver: erp}, resets: %q, since: %q}\n",
			firstCompany+int64(i), i, client, strings.Join(tokens, ", "), w.zone, w.resets, since)
	}
	w.file = filepath.Join(w.TempDir(), "companies.yaml")
	w.must(os.WriteFile(w.file, []byte(b.String()), 0o600))
}

// line is a running pipeline.
type line struct {
	*run.Pipeline
	world  *world
	cancel context.CancelFunc
	done   chan error
	once   sync.Once
	broker *broker.Server // nil: the pipeline's own
}

// services replaces services of the pipeline; nil: the service does not run.
type services map[string]tenant.Service

// run runs a pipeline until stop or the end of the test.
func (w *world) run() *line { return w.runWith(nil) }

func (w *world) runWith(change services) *line {
	w.Helper()
	p := w.process()
	pl, err := run.Open(w.Context(), p, connectors.Drivers)
	w.must(err)
	return w.start(&line{Pipeline: pl}, change)
}

// runOnBroker runs a pipeline with a broker that the test may close.
func (w *world) runOnBroker() *line {
	w.Helper()
	srv := w.startBroker()
	l := w.runOn(srv)
	l.broker = srv
	return l
}

func (w *world) startBroker() *broker.Server {
	w.Helper()
	srv, err := broker.Start(filepath.Join(w.data, "jetstream"))
	w.must(err)
	return srv
}

// runOn runs a pipeline with a broker that keeps running.
func (w *world) runOn(srv *broker.Server) *line { return w.runOnWith(srv, nil) }

func (w *world) runOnWith(srv *broker.Server, change services) *line {
	w.Helper()
	p := w.process()
	pl := &run.Pipeline{App: p, Ledger: ledger.Open(run.LedgerDir(w.data))}
	w.must(p.Connect(w.Context(), bus.Options{InProcess: srv.InProcess(), Name: "tieback"}))
	return w.start(&line{Pipeline: pl}, change)
}

func (w *world) process() *tenant.App {
	w.Helper()
	env := map[string]string{
		"TIEBACK_DATA": w.data, "TIEBACK_COMPANIES": w.file, "TIEBACK_ADMIN_ADDR": "127.0.0.1:0",
		"TIEBACK_PROCORE_API_URL": w.url, "TIEBACK_PROCORE_LOGIN_URL": w.url, "TIEBACK_LOG_LEVEL": "debug",
	}
	if w.deadline > 0 {
		env["TIEBACK_DEADLINE"] = w.deadline.String()
	}
	p, err := tenant.Load("tieback", func(name string) string { return env[name] }, tenant.AllCompanies)
	w.must(err)
	p.Backoff, p.Slow, p.Log = w.backoff, w.slow, zap.NewNop()
	if w.log != nil {
		p.Log = zap.New(w.log)
	}
	if w.timeout > 0 {
		p.Procore, err = procore.New(procore.Config{APIURL: w.url, LoginURL: w.url, Timeout: w.timeout}, p.Companies, prometheus.NewRegistry())
		w.must(err)
	}
	return p
}

func (w *world) start(l *line, change services) *line {
	w.Helper()
	l.world, l.done = w, make(chan error, 1)
	l.Drivers["erp"] = l.Ledger.Opener()
	if w.driver != nil {
		l.Drivers["erp"] = w.driver
	}
	all := run.Services(run.Ingest(w.front.open()))
	for name, run := range change {
		if all[name] = run; run == nil {
			delete(all, name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	g, ctx := errgroup.WithContext(ctx)
	for name, run := range all {
		g.Go(func() error {
			if err := run(ctx, l.App); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	g.Go(func() error { return w.listen(ctx, l.Bus) })
	g.Go(func() error { return l.ReportTroubles(ctx) })
	go func() { l.done <- g.Wait() }()
	w.Cleanup(l.stop)
	return l
}

// stop stops the pipeline as a signal does. It may be called twice.
func (l *line) stop() {
	l.once.Do(func() {
		l.cancel()
		if err := <-l.done; err != nil && !errors.Is(err, context.Canceled) {
			l.world.Errorf("the pipeline ended with: %v", err)
		}
		l.Close()
		if l.broker != nil {
			l.broker.Close()
		}
	})
}

// listen records the closed and dead-lettered requests, and reports them to the sandbox, which can't see them without a request
// detail.
func (w *world) listen(ctx context.Context, b *bus.Bus) error {
	all, ctx := errgroup.WithContext(ctx)
	for kind, note := range map[bus.Kind]func(bus.Message){bus.Closed: w.noteClosed, bus.Dead: w.noteDead} {
		all.Go(func() error {
			err := b.Scan(ctx, bus.Scan{Kind: kind, Follow: true}, func(m bus.Message) error { note(m); return nil })
			if ctx.Err() != nil {
				return nil
			}
			return err
		})
	}
	return all.Wait()
}

func (w *world) noteClosed(m bus.Message) {
	o := &tiebackv1.Outcome{}
	if proto.Unmarshal(m.Data, o) != nil {
		return
	}
	w.sandbox.ReportClosed(o.ErpRequestId)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed[o.ErpRequestId] == nil {
		w.closed[o.ErpRequestId] = o
		close(w.newsOf(o.ErpRequestId))
	}
}

func (w *world) noteDead(m bus.Message) {
	if s := m.Subject; s != (bus.Subject{}) {
		w.sandbox.ReportDeadLettered(s.Request)
		w.mu.Lock()
		w.dead[s.Request] = true
		w.mu.Unlock()
	}
}

func (w *world) newsOf(request int64) chan struct{} {
	if w.news[request] == nil {
		w.news[request] = make(chan struct{})
	}
	return w.news[request]
}

// press creates a request of the first company.
func (w *world) press(eventType string) int64 { return w.pressIn(firstCompany, eventType, nil) }

func (w *world) pressIn(company int64, eventType string, payload map[string]any) int64 {
	w.Helper()
	id, err := w.sandbox.Press(company, eventType, payload)
	w.must(err)
	return id
}

// patience is the longest time to wait for the pipeline.
const patience = 60 * time.Second

// wait waits until a request is closed in the stream and in Procore.
func (w *world) wait(request int64) sandbox.Request {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	w.mu.Lock()
	news := w.newsOf(request)
	w.mu.Unlock()
	select {
	case <-news:
	case <-ctx.Done():
		r, _ := w.sandbox.Request(request)
		w.Fatalf("request %d, %s, is not closed after %v: %+v", request, r.EventType, patience, r.Details)
	}
	r, err := w.sandbox.Wait(ctx, request)
	if err != nil {
		w.Fatalf("request %d, %s, is closed in the pipeline and open in Procore: %+v", request, r.EventType, r.Details)
	}
	if len(r.TooEarly) > 0 {
		w.Errorf("request %d, %s: success was reported too early: %v", request, r.EventType, r.TooEarly)
	}
	return r
}

// succeeded waits for a request and checks that it succeeded.
func (w *world) succeeded(request int64) {
	w.Helper()
	if r := w.wait(request); r.Outcome() != sandbox.Success || w.isDead(request) {
		w.Errorf("request %d, %s, ended %q, want success (dead-lettered: %v): %+v", request, r.EventType, r.Outcome(), w.isDead(request), r.Details)
	}
}

func (w *world) isDead(request int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead[request]
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// sound checks that a company's books are balanced and have no duplicates. It returns the bookings of an entity.
func (w *world) sound(l *ledger.Ledger, company int64, e ledger.Entity) []*ledger.Record {
	w.Helper()
	books, err := l.Company(context.Background(), company)
	w.must(err)
	defer func() { w.must(books.Close()) }()
	doubles, err := books.Duplicates(context.Background())
	w.must(err)
	if len(doubles) > 0 {
		w.Errorf("booked twice: %v", doubles)
	}
	w.must(books.Balanced(context.Background()))
	all, err := books.All(context.Background(), e)
	w.must(err)
	return all
}

// messages returns all messages of a stream.
func (l *line) messages(kind bus.Kind) []*jetstream.RawStreamMsg {
	l.world.Helper()
	return l.stream(kind.Stream())
}

func (l *line) stream(name string) []*jetstream.RawStreamMsg {
	l.world.Helper()
	ctx := context.Background()
	s, err := l.Bus.JetStream().Stream(ctx, name)
	l.world.must(err)
	var all []*jetstream.RawStreamMsg
	for seq := max(1, s.CachedInfo().State.FirstSeq); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		l.world.must(err)
		all = append(all, m)
	}
	return all
}

// front is the address of ingest, whichever pipeline runs. While none runs, it closes connections.
type front struct {
	net.Listener
	mu     sync.Mutex
	behind *gate
}

func openFront(t *testing.T) *front {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{Listener: l}
	var accepting sync.WaitGroup
	accepting.Go(f.accept)
	t.Cleanup(func() { _ = l.Close(); accepting.Wait() })
	return f
}

func (f *front) accept() {
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		g := f.behind
		f.mu.Unlock()
		if g == nil || !g.take(c) {
			_ = c.Close()
		}
	}
}

// open returns a listener for a pipeline. The address survives its end.
func (f *front) open() net.Listener {
	g := &gate{front: f, conns: make(chan net.Conn), ended: make(chan struct{})}
	f.mu.Lock()
	f.behind = g
	f.mu.Unlock()
	return g
}

type gate struct {
	front *front
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func (g *gate) take(c net.Conn) bool {
	select {
	case g.conns <- c:
		return true
	case <-g.ended:
		return false
	}
}

func (g *gate) Accept() (net.Conn, error) {
	select {
	case c := <-g.conns:
		return c, nil
	case <-g.ended:
		return nil, net.ErrClosed
	}
}

func (g *gate) Close() error {
	g.once.Do(func() {
		close(g.ended)
		g.front.mu.Lock()
		if g.front.behind == g {
			g.front.behind = nil
		}
		g.front.mu.Unlock()
	})
	return nil
}

func (g *gate) Addr() net.Addr { return g.front.Addr() }

// session returns the session of a company.
func (w *world) session(c *procore.Client, company int64) *procore.Session {
	w.Helper()
	s, err := c.Company(company)
	w.must(err)
	return s
}
