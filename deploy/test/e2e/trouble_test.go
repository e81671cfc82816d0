package endtoend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/remote"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/console/operator/status"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run"
)

// needed waits until status names what needs attention; "": until nothing does.
func (l *line) needed(what string) {
	l.world.Helper()
	var r *operatorv1.Overview
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r = l.status(func(o *status.Options) { o.TroubleAfter = 500 * time.Millisecond })
		if what == "" && len(r.Attention) == 0 || what != "" && needs(r, what) {
			return
		}
	}
	l.world.Fatalf("status needs attention for %q, want %q", r.Attention, what)
}

// away is a remote connector that is unreachable first, then hangs, then answers.
type away struct {
	*world
	address string
	hangs   atomic.Bool
	freed   chan struct{}
}

// remotely makes the ERP a remote connector that does not run yet.
func (w *world) remotely() *away {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	a := &away{world: w, address: l.Addr().String(), freed: make(chan struct{})}
	w.must(l.Close())
	w.driver = func(ctx context.Context, company int64, _ map[string]string) (connector.Driver, error) {
		return remote.Open(ctx, company, map[string]string{"address": a.address, "tls": "off", "timeout": "5m"})
	}
	return a
}

// arrive starts the connector.
func (a *away) arrive() {
	l, err := net.Listen("tcp", a.address)
	a.must(err)
	books := ledger.Open(run.LedgerDir(a.data))
	ctx, stop := context.WithCancel(context.Background())
	before := func(ctx context.Context) error {
		if a.hangs.Load() {
			select {
			case <-a.freed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	done := make(chan error, 1)
	go func() {
		done <- remote.Serve(ctx, remote.ServerConfig{Listener: l, Grace: time.Millisecond, Resolve: func(ctx context.Context, company int64) (connector.Driver, error) {
			d, err := books.Opener()(ctx, company, nil)
			return hooked{d, before}, err
		}})
	}()
	a.Cleanup(func() { stop(); <-done; _ = books.Close() })
}

// A remote connector is unreachable, hangs, and recovers. Procore shows the reason in the company's time zone, also for an event
// without an attempt and for one whose first attempt hangs. Status names the company, the reason and the command, until the
// connector answers.
func TestUnreachableConnectorIsNamedUntilItAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{slow: time.Second, zone: "America/Chicago"})
	a := w.remotely()
	l := w.run()
	first := w.press("create_vendor")
	zone, err := time.LoadLocation("America/Chicago")
	w.must(err)
	w.shows(first, sandbox.InProgress, "Your ERP system has not answered since "+time.Now().In(zone).Format("15:04 MST")+". The ERP integration keeps trying until")
	l.needed("(C0): its ERP has not answered since")
	if n := seriesOf(t, l.Registry, "tieback_trouble_since_timestamp_seconds", map[string]string{"company": "598134325841112", "source": "erp", "reason": "no-answer"}); n != 1 {
		t.Errorf("%d series of the ERP's trouble", n)
	}
	l.needed("connection refused\": check the company (tieback doctor --company 598134325841112)")
	a.hangs.Store(true)
	a.arrive()
	second := w.press("create_vendor")
	w.shows(second, sandbox.InProgress, "Your ERP system has not answered since")
	l.needed("(C0): its ERP has not answered since")
	a.hangs.Store(false)
	close(a.freed)
	w.succeeded(first)
	w.succeeded(second)
	l.needed("")
	if n := seriesOf(t, l.Registry, "tieback_trouble_since_timestamp_seconds", nil); n != 0 {
		t.Errorf("%d troubles are exported after their end", n)
	}
}

// seriesOf counts the series of a metric that have the labels.
func seriesOf(t *testing.T, from prometheus.Gatherer, name string, labels map[string]string) (n int) {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			has := map[string]string{}
			for _, l := range m.GetLabel() {
				has[l.GetName()] = l.GetValue()
			}
			matches := f.GetName() == name
			for k, v := range labels {
				matches = matches && has[k] == v
			}
			if matches {
				n++
			}
		}
	}
	return n
}

// The ERP asks to wait for an hour. The events behind the first are not attempted, and Procore shows the reason for them too.
func TestEventsBehindThrottledOneShowReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{slow: time.Second})
	asked := make(chan struct{})
	var once atomic.Bool
	w.beforeBooking(func(context.Context) error {
		if once.CompareAndSwap(false, true) {
			close(asked)
		}
		return fault.Wait(time.Hour, errors.New("come back in an hour"))
	})
	l := w.run()
	w.press("create_vendor")
	<-asked
	time.Sleep(100 * time.Millisecond) // until the company's queue is throttled
	behind := w.press("create_vendor")
	w.shows(behind, sandbox.InProgress, "Your ERP system takes no more calls until")
	l.needed("") // it continues by itself
}

// Procore refuses a company's secret. Status names that company only, until the secret is accepted.
func TestRefusedSecretIsNamed(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	refuse.Store(true)
	w := newWorld(t, setup{companies: 2, slow: time.Second, around: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Procore-Company-Id") == "598134325841112" && refuse.Load() {
				rw.WriteHeader(http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(rw, r)
		})
	}})
	l := w.run()
	waits := w.press("create_vendor")
	w.succeeded(w.pressIn(firstCompany+1, "create_vendor", nil))
	l.needed("company 598134325841112 (C0): Procore has refused our credentials, or a permission, since")
	if r := l.status(func(o *status.Options) { o.TroubleAfter = time.Nanosecond }); needs(r, "company 598134325841113") {
		t.Errorf("status names the other company: %q", r.Attention)
	}
	refuse.Store(false)
	w.succeeded(waits)
	l.needed("")
}

// A connector that refuses its settings is named before the first request, and in the messages of requests.
func TestUnusableConnectorIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{companies: 2, slow: time.Second})
	books := ledger.Open(run.LedgerDir(w.data))
	w.driver = func(ctx context.Context, company int64, settings map[string]string) (connector.Driver, error) {
		if company == firstCompany {
			return nil, errors.New("connector.address: is missing")
		}
		return books.Opener()(ctx, company, settings)
	}
	l := w.run()
	l.needed("company 598134325841112 (C0): its connector has refused its settings since")
	w.shows(w.press("create_vendor"), sandbox.InProgress, "The ERP integration can't connect to your ERP system: its settings are wrong. Please contact the administrator of your ERP integration.")
}

func TestHealthyPipelineRecordsNoTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{slow: time.Second})
	l := w.run()
	for _, id := range w.vendors(3) {
		w.succeeded(id)
	}
	time.Sleep(500 * time.Millisecond) // several intervals
	s, err := l.Bus.JetStream().Stream(t.Context(), "KV_tieback-state")
	w.must(err)
	if _, err := s.GetLastMsgForSubject(t.Context(), "$KV.tieback-state.trouble.>"); err == nil {
		t.Error("a trouble was recorded")
	}
	if n := len(l.messages(bus.Dead)); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

// The sweep sees deliveries that fail, and status names the company until they succeed.
func TestRefusedWebhookIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.runWith(services{"sweep": nil})
	w.must(w.sandbox.RotateToken(firstCompany, "not-the-webhook-token"))
	missed := w.press("create_vendor")
	s := l.sweeper()
	for end := time.Now().Add(patience); l.sweep(s).Failing == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no delivery failed")
		}
	}
	w.succeeded(missed)
	l.needed("company 598134325841112 (C0): Procore's deliveries have not reached ingest since")
	w.must(w.sandbox.RotateToken(firstCompany, w.token))
	w.succeeded(w.press("create_vendor"))
	for end := time.Now().Add(patience); l.sweep(s).Failing > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a delivery fails without an end")
		}
	}
	l.needed("")
}

// A refusal of the ERP is not an error of the pipeline. It is in the log of each attempt, in the metric of the company, and in
// the audit with its reason.
func TestRefusalOfERPIsShown(t *testing.T) {
	t.Parallel()
	log := &logRecorder{more: make(chan struct{})}
	w := newWorld(t, setup{log: log.core()})
	var refuse atomic.Bool
	w.beforeBooking(func(context.Context) error {
		if refuse.Load() {
			return fault.Refused("code", "The code 12 is taken.")
		}
		return nil
	})
	l := w.run()
	w.succeeded(w.press("create_vendor"))
	refuse.Store(true)
	refused := w.press("create_vendor")
	w.failed(refused, "The code 12 is taken.")
	for _, stop := range []string{"export", "status-reporter"} {
		log.await(t, 0, `"stage":"`+stop+`"`, fmt.Sprintf(`"erp_request":%d`, refused), `"outcome":"refused"`, "The code 12 is taken.")
	}
	if f := of(l.audit(), refused); f.Class != string(request.Failed) || !strings.Contains(f.Why, "The code 12 is taken.") {
		t.Errorf("the audit reports %s: %q", f.Class, f.Why)
	}
	want := map[string]float64{"success": 1, "refused": 1, "failed": 0}
	families, err := l.Registry.Gather()
	w.must(err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, pair := range m.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			if n, of := want[labels["outcome"]]; of && f.GetName() == "tieback_close_outs_total" && labels["category"] == "export" && m.GetCounter().GetValue() != n {
				t.Errorf("%v exports are counted as %s, want %v", m.GetCounter().GetValue(), labels["outcome"], n)
			}
		}
	}
}
