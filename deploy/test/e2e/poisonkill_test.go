package endtoend

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run"
)

// beTheVictim makes the test binary run as the victim.
const beTheVictim = "TIEBACK_TEST_VICTIM"

// Records that kill every process that handles them become dead letters after their attempts. Events that were in flight beside
// them succeed and are booked once. The process is a real one with all stages but ingest; SIGKILL ends it.
func TestPoisonMessageFailsAlone(t *testing.T) {
	t.Parallel()
	const others, companies, attempts = 200, 3, 5
	w := newWorld(t, setup{companies: companies})
	url := w.listeningBroker()
	l := w.runIngest(url)
	var innocent, poison []int64
	for i := range others {
		innocent = append(innocent, w.pressIn(firstCompany+int64(i%companies), "create_vendor", nil))
		if i == others/3 || i == others/2 {
			poison = append(poison, w.pressPoison(firstCompany+int64(i%companies)))
		}
	}
	deaths, beside := w.restartVictim(url, append(innocent, poison...))
	for _, id := range innocent {
		w.succeeded(id)
	}
	letters := l.letters(len(poison))
	for i, id := range poison {
		w.failed(id, "")
		subject := bus.For(bus.Event, "create_vendor", firstCompany+int64([]int{others / 3, others / 2}[i]%companies), id).String()
		if d := letters[subject]; d == nil || d.Stage != "export" || !strings.Contains(d.Error, "did not end") {
			t.Errorf("dead letter of %s: %v", subject, d)
		}
	}
	booked := 0
	for i := range companies {
		booked += len(w.sound(l.Ledger, firstCompany+int64(i), ledger.Vendor))
	}
	if booked != others {
		t.Errorf("%d vendors in the books, want %d", booked, others)
	}
	if deaths > attempts*len(poison) {
		t.Errorf("the process died %d times of %d records, want at most %d each", deaths, len(poison), attempts)
	}
	if beside < 2*deaths {
		t.Errorf("only %d other bookings were in flight in %d deaths", beside, deaths)
	}
	t.Logf("the process died %d times, with %d other bookings in flight", deaths, beside)
}

// listeningBroker starts a broker with a port.
func (w *world) listeningBroker() string {
	w.Helper()
	return bustest.Start(w.T, server.Options{Port: -1, StoreDir: filepath.Join(w.data, "jetstream"), SyncAlways: true}).ClientURL()
}

// runIngest runs only ingest in this process.
func (w *world) runIngest(url string) *line {
	w.Helper()
	p := w.process()
	pl := &run.Pipeline{App: p, Ledger: ledger.Open(run.LedgerDir(w.data))}
	w.must(p.Connect(w.Context(), bus.Options{URL: url, Name: "ingest"}))
	others := services{}
	for name := range run.Services(nil) {
		if name != "ingest" {
			others[name] = nil
		}
	}
	return w.start(&line{Pipeline: pl}, others)
}

func (w *world) pressPoison(company int64) int64 {
	w.Helper()
	payload, err := w.sandbox.Sample(company, "create_vendor", nil)
	w.must(err)
	sandbox.Set(payload, "request_data.vendor.name", "Poison Ltd.")
	return w.pressIn(company, "create_vendor", payload)
}

// restartVictim restarts the victim whenever it dies, until all requests are closed. It returns how often that was, and how many
// other bookings were in flight then.
func (w *world) restartVictim(url string, requests []int64) (deaths, beside int) {
	w.Helper()
	all := w.all(requests)
	for {
		v := w.startVictim(url)
		select {
		case <-all:
			_ = v.stdin.Close()
			<-v.died
			return deaths, beside
		case n := <-v.died:
			deaths, beside = deaths+1, beside+n
		case <-w.Context().Done():
			w.Fatal("the test ended first")
		}
		if deaths > 50 {
			w.Fatal("the victim dies without an end")
		}
	}
}

type victimProcess struct {
	stdin io.Closer
	kill  func() error // kill -9
	died  chan int     // the number of other bookings in flight
}

func (w *world) startVictim(url string) *victimProcess {
	w.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), beTheVictim+"=1", "TIEBACK_NATS_URL="+url, "TIEBACK_DATA="+w.data, "TIEBACK_COMPANIES="+w.file,
		"TIEBACK_ADMIN_ADDR=127.0.0.1:0", "TIEBACK_PROCORE_API_URL="+w.url, "TIEBACK_PROCORE_LOGIN_URL="+w.url)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	w.must(err)
	stdout, err := cmd.StdoutPipe()
	w.must(err)
	w.must(cmd.Start())
	v := &victimProcess{stdin: stdin, kill: cmd.Process.Kill, died: make(chan int, 1)}
	go func() {
		beside := 0
		for in := bufio.NewScanner(stdout); in.Scan(); {
			beside, _ = strconv.Atoi(in.Text())
		}
		_ = cmd.Wait() // killed or stopped
		v.died <- beside
	}()
	return v
}

// victim runs all stages but ingest until its parent closes its stdin.
func victim() int {
	ctx, stop := context.WithCancel(context.Background())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }()
	err := runVictim(ctx)
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "victim:", err)
		return 1
	}
	return 0
}

func runVictim(ctx context.Context) error {
	p, err := tenant.Load("victim", os.Getenv, tenant.AllCompanies)
	if err != nil {
		return err
	}
	p.Backoff, p.Log = time.Second/60, zap.NewNop()
	pl := &run.Pipeline{App: p, Ledger: ledger.Open(run.LedgerDir(p.Settings.Data))}
	p.Drivers["erp"] = deadly(pl.Ledger.Opener())
	if err := p.Connect(ctx, bus.Options{URL: p.Settings.NATSURL, Name: "victim"}); err != nil {
		return err
	}
	defer pl.Close()
	g, ctx := errgroup.WithContext(ctx)
	for name, run := range run.Services(nil) {
		if name != "ingest" && name != "sweep" {
			g.Go(func() error { return run(ctx, p) })
		}
	}
	return g.Wait()
}

// deadly opens ERPs in which some records kill the process.
func deadly(open connector.Opener) connector.Opener {
	var working atomic.Int32
	var striking atomic.Bool
	return func(ctx context.Context, company int64, settings map[string]string) (connector.Driver, error) {
		d, err := open(ctx, company, settings)
		return &deadlyERP{d, &working, &striking}, err
	}
}

type deadlyERP struct {
	connector.Driver
	working  *atomic.Int32
	striking *atomic.Bool
}

// Put kills the process as soon as 8 other bookings are in flight, after half a second at the latest.
func (e *deadlyERP) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	const moment = 10 * time.Millisecond
	if strings.HasPrefix(q.Record.Name, "Poison") {
		e.striking.Store(true)
		for n := 0; n < 50 && e.working.Load() < 8; n++ {
			time.Sleep(moment)
		}
		fmt.Println(e.working.Load())
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until the signal arrives
	}
	e.working.Add(1)
	defer e.working.Add(-1)
	time.Sleep(2 * moment) // the time of an ERP
	a, err := e.Driver.Put(ctx, q)
	for n := 0; n < 50 && e.striking.Load(); n++ {
		time.Sleep(moment)
	}
	return a, err
}
