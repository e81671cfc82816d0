package endtoend

import (
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
	"github.com/nats-io/nkeys"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/tieback/run"
)

// rotation is a world whose secrets are all in files, with a pipeline in one process and a broker that requires a key.
type rotation struct {
	*world
	line    *line
	log     *logRecorder
	erp     *lockedERP
	broker  *lockedBroker
	dir     string
	key     string // the broker's current key
	secrets []string
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	log := &logRecorder{more: make(chan struct{})}
	erp := &lockedERP{open: yesERPs()}
	r := &rotation{world: newWorld(t, setup{log: log.core()}), log: log, erp: erp, dir: t.TempDir()}
	const password = "erp-password-0123456789abcdef"
	erp.accept(password)
	r.key = r.newKey()
	r.keep(r.secret, r.token, password)
	r.write("client_secret", r.secret)
	r.write("webhook_tokens", r.token)
	r.write("connector.password", password)
	r.write("broker.nk", r.key)
	r.file = filepath.Join(r.dir, "companies.yaml")
	r.write("companies.yaml", fmt.Sprintf(`companies:
  - {id: %d, name: C0, client_id: client-0, client_secret_file: %s, webhook_tokens_file: %s, standard_cost_code_list_id: 2, connector: {driver: erp, password_file: %s}}
`, int64(firstCompany), r.path("client_secret"), r.path("webhook_tokens"), r.path("connector.password")))
	r.broker = startLockedBroker(t, r.key)
	r.start()
	return r
}

// start runs the pipeline as `tieback run` does.
func (r *rotation) start() {
	r.Helper()
	env := map[string]string{
		"TIEBACK_DATA": r.data, "TIEBACK_COMPANIES": r.file, "TIEBACK_ADMIN_ADDR": "127.0.0.1:0",
		"TIEBACK_NATS_URL": r.broker.ClientURL(), "TIEBACK_NATS_NKEY_FILE": r.path("broker.nk"),
		"TIEBACK_PROCORE_API_URL": r.url, "TIEBACK_PROCORE_LOGIN_URL": r.url, "TIEBACK_LOG_LEVEL": "debug",
	}
	p, err := tenant.Load("tieback", func(name string) string { return env[name] }, tenant.AllCompanies)
	r.must(err)
	p.Backoff, p.Reread, p.Log = r.backoff, 10*time.Millisecond, zap.New(r.setup.log)
	p.Drivers["erp"] = r.erp.opener
	pl, err := run.Open(r.Context(), p, connectors.Drivers)
	r.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	r.line = &line{Pipeline: pl, world: r.world, cancel: cancel, done: make(chan error, 1)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return pl.Run(ctx, r.front.open()) })
	g.Go(func() error { return r.listen(ctx, pl.Bus) })
	go func() { r.line.done <- g.Wait() }()
	r.Cleanup(r.line.stop)
}

func (r *rotation) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rotation) write(name, text string) {
	r.Helper()
	r.must(os.WriteFile(r.path(name), []byte(text), 0o600))
}

// keep records secrets that must not be disclosed.
func (r *rotation) keep(secrets ...string) { r.secrets = append(r.secrets, secrets...) }

// rewrite changes a secret in its file and waits until it is read.
func (r *rotation) rewrite(field, text string) {
	r.Helper()
	mark := r.log.mark()
	r.write(field, text)
	r.log.await(r.T, mark, "secrets rotated", field)
}

// open checks that a request is not closed.
func (r *rotation) open(request int64) {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed[request] != nil {
		r.Errorf("request %d is closed although the old secret is invalid", request)
	}
}

func (r *rotation) newKey() string {
	r.Helper()
	pair, err := nkeys.CreateUser()
	r.must(err)
	seed, err := pair.Seed()
	r.must(err)
	r.keep(string(seed))
	return string(seed)
}

// lockedERP is an ERP that compares the password of the driver in each call.
type lockedERP struct {
	open connector.Opener

	mu             sync.Mutex
	password       string
	opened, closed int
}

func (e *lockedERP) accept(password string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.password = password
}

func (e *lockedERP) counts() (opened, closed int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.opened, e.closed
}

func (e *lockedERP) opener(ctx context.Context, company int64, settings map[string]string) (connector.Driver, error) {
	d, err := e.open(ctx, company, nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened++
	return &lockedDriver{Driver: d, erp: e, password: settings["password"]}, err
}

type lockedDriver struct {
	connector.Driver
	erp      *lockedERP
	password string
}

func (d *lockedDriver) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	d.erp.mu.Lock()
	right := d.password == d.erp.password
	d.erp.mu.Unlock()
	if !right {
		return nil, fault.New(fault.Transient, errors.New("the password is wrong"))
	}
	return d.Driver.Put(ctx, q)
}

func (d *lockedDriver) Close() error {
	d.erp.mu.Lock()
	defer d.erp.mu.Unlock()
	d.erp.closed++
	return d.Driver.Close()
}

// lockedBroker is a nats-server that accepts some keys.
type lockedBroker struct {
	*server.Server
	options *server.Options
}

func startLockedBroker(t *testing.T, seeds ...string) *lockedBroker {
	t.Helper()
	o := &server.Options{ // complete, because knows reloads them
		ServerName: "tieback", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		MaxPayload: 8 << 20, Nkeys: usersOf(t, seeds),
	}
	return &lockedBroker{bustest.Start(t, *o.Clone()), o}
}

// knows replaces the accepted keys, and closes the connections of others.
func (b *lockedBroker) knows(t *testing.T, seeds ...string) {
	t.Helper()
	o := b.options.Clone()
	o.Nkeys = usersOf(t, seeds)
	if err := b.ReloadOptions(o); err != nil {
		t.Fatal(err)
	}
}

func usersOf(t *testing.T, seeds []string) (users []*server.NkeyUser) {
	t.Helper()
	for _, seed := range seeds {
		pair, err := nkeys.FromSeed([]byte(seed))
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, &server.NkeyUser{Nkey: public})
	}
	return users
}

// logRecorder is a log whose lines a test can wait for.
type logRecorder struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed when the next line is written
}

func (e *logRecorder) core() zapcore.Core {
	return zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(e), zap.DebugLevel)
}

func (e *logRecorder) logger() *zap.Logger { return zap.New(e.core()) }

func (e *logRecorder) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, string(p))
	close(e.more)
	e.more = make(chan struct{})
	return len(p), nil
}

// mark returns the number of lines so far.
func (e *logRecorder) mark() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.lines)
}

func (e *logRecorder) all() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.lines, "")
}

// await waits for a line at or after mark that contains all words, and returns the mark after it.
func (e *logRecorder) await(t *testing.T, mark int, words ...string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		e.mu.Lock()
		lines, more := e.lines, e.more
		e.mu.Unlock()
		for ; mark < len(lines); mark++ {
			if holds(lines[mark], words) {
				return mark + 1
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatalf("no line of the log contains %q: %s", words, strings.Join(lines[max(0, len(lines)-20):], ""))
		}
	}
}

func holds(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}
