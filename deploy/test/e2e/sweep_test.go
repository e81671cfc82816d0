package endtoend

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/console/operator/audit"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/sweep"
)

// sweeper returns a sweep without a grace period for the tests to call.
func (l *line) sweeper() *sweep.Service {
	l.world.Helper()
	s, err := sweep.New(sweep.Deps{
		Bus: l.Bus, Companies: l.Companies, Procore: l.Procore, Log: l.Log, Backoff: l.Backoff, Grace: -1,
	}, prometheus.NewRegistry())
	l.world.must(err)
	return s
}

// noIngest is an ingest that is unreachable.
func (w *world) noIngest(ctx context.Context, _ *tenant.App) error {
	w.front.mu.Lock()
	behind := w.front.behind
	w.front.mu.Unlock()
	err := behind.Close()
	<-ctx.Done()
	return err
}

// sweep sweeps the first company once.
func (l *line) sweep(s *sweep.Service) sweep.Result {
	l.world.Helper()
	r, err := s.Sweep(l.world.Context(), firstCompany)
	l.world.must(err)
	return r
}

// audit audits the first company, from its first request.
func (l *line) audit() *operatorv1.AuditResponse {
	l.world.Helper()
	session, err := l.Procore.Company(firstCompany)
	l.world.must(err)
	r, err := audit.Read(l.world.Context(), &erplog.Reader{Session: session, Company: firstCompany, Backoff: l.Backoff}, l.Bus, audit.Options{
		Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour),
		Rules: request.Rules{Deadlines: request.Deadlines{Interactive: l.Settings.Deadline, Sync: l.Settings.SyncDeadline}, Company: l.Companies[firstCompany]},
	})
	l.world.must(err)
	return r
}

// clean checks that an audit accounts for a number of requests, all of them closed.
func (l *line) clean(requests int) {
	l.world.Helper()
	r := l.audit()
	if !r.AccountedFor || int(r.Requests) != requests || r.Counts[string(request.InProgress)] > 0 {
		l.world.Errorf("the audit accounts for %v of %d requests, want all of %d closed: %+v", r.Counts, r.Requests, requests, amiss(r))
	}
}

// amiss returns the findings of an audit that are not closed.
func amiss(r *operatorv1.AuditResponse) []*operatorv1.AuditFinding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f *operatorv1.AuditFinding) bool {
		return f.AccountedFor && f.Class != string(request.InProgress)
	})
}

// every creates a request of each event type.
func (w *world) every() []int64 {
	w.Helper()
	var requests []int64
	for _, c := range catalogue.Categories {
		for _, row := range catalogue.Of(c) {
			requests = append(requests, w.press(row.Name))
		}
	}
	return requests
}

// flushed waits until Procore has discarded a number of deliveries of the first company.
func (w *world) flushed(l *line, want int) {
	w.Helper()
	session, err := l.Procore.Company(firstCompany)
	w.must(err)
	reader := &erplog.Reader{Session: session, Company: firstCompany}
	hooks, err := reader.Hooks(w.Context())
	w.must(err)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		n := 0
		_, err := reader.Deliveries(ctx, hooks[0], erplog.LogDiscarded, erplog.DeliveryMark{}, func(some []erplog.Logged) error { n += len(some); return nil })
		w.must(err)
		if n == want {
			tick.Stop()
			return
		}
		<-tick.C
	}
}

// Ingest is down for 13 hours, each of which lasts 1/13 second here. Procore retries for 12 hours, then discards the deliveries.
// All 51 event types and 50 more vendors are requested meanwhile; a sweep brings them in.
func TestNothingIsLostWhileIngestIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: sandbox.Config{Speed: 13 * 3600}})
	l := w.runWith(services{"ingest": w.noIngest, "sweep": nil})
	requests := append(w.every(), w.vendors(50)...)
	w.flushed(l, len(requests))
	if n := len(l.messages(bus.Delivery)); n != 0 {
		t.Fatalf("%d deliveries arrived: ingest was not down", n)
	}
	if r := l.audit(); r.AccountedFor || int(r.Counts[string(request.Missed)]) != len(requests) {
		t.Errorf("before the sweep: counts %v, want %d missed", r.Counts, len(requests))
	}
	l.stop()

	before := w.sandbox.Counts()
	l = w.run() // the service sweeps when it starts
	for _, id := range requests {
		w.wait(id)
	}
	for kind, n := range map[bus.Kind]int{bus.Delivery: len(requests), bus.Event: len(requests), bus.Outcome: len(requests), bus.Closed: len(requests)} {
		if got := len(l.messages(kind)); got != n {
			t.Errorf("%d messages in %s, want %d", got, kind.Stream(), n)
		}
	}
	l.clean(len(requests))
	calls := int64(0)
	for pattern, n := range w.sandbox.Counts() {
		if strings.Contains(pattern, "webhooks") || strings.HasSuffix(pattern, "/erp_request_details") {
			calls += n - before[pattern]
		}
	}
	t.Logf("%d requests, found by sweeps and an audit in %d calls", len(requests), calls)
	if r := l.sweep(l.sweeper()); len(r.Found)+len(r.Closed) != 0 {
		t.Errorf("a second sweep found %+v", r)
	}
}

// While Procore's queue is paused, its log shows only the first delivery. The sweep finds the others by their open request
// details, and what Procore delivers later is a duplicate.
func TestSweepFindsRequestsOfPausedQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: sandbox.Config{Speed: 1, InFlight: 1}})
	requests := w.vendors(30)
	l := w.runWith(services{"ingest": w.noIngest, "sweep": nil})
	r := l.sweep(l.sweeper())
	if len(r.Found) != len(requests) {
		t.Fatalf("the sweep found %d of %d", len(r.Found), len(requests))
	}
	for _, id := range requests {
		w.succeeded(id)
	}
	l.stop()
	l = w.run()
	l.clean(len(requests))
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != len(requests) {
		t.Errorf("%d vendors in the books, want %d", booked, len(requests))
	}
}

// Sweeps without a grace period beside live traffic with duplicates: the second publisher of a delivery finds it stored.
func TestSweepsBesideLiveTrafficDuplicateNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: sandbox.Config{DuplicateFraction: 0.3, Speed: 60}})
	l := w.runWith(services{"sweep": nil})
	s := l.sweeper()
	var requests []int64
	for range 10 {
		requests = append(requests, w.vendors(10)...)
		l.sweep(s)
	}
	for _, id := range requests {
		w.succeeded(id)
	}
	for _, kind := range []bus.Kind{bus.Delivery, bus.Event, bus.Outcome, bus.Closed} {
		if got := len(l.messages(kind)); got != len(requests) {
			t.Errorf("%d messages in %s, want %d", got, kind.Stream(), len(requests))
		}
	}
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != len(requests) {
		t.Errorf("%d vendors in the books, want %d", booked, len(requests))
	}
	l.clean(len(requests))
}

// The doc comment of sweep promises the number of calls of a sweep that finds nothing.
func TestIdleSweepMakesFourCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.runWith(services{"sweep": nil})
	for _, id := range w.vendors(30) {
		w.succeeded(id)
	}
	s := l.sweeper()
	l.sweep(s)
	before := w.sandbox.TotalCalls()
	r := l.sweep(s)
	if cost := w.sandbox.TotalCalls() - before; cost != 4 || r.Calls != 4 {
		t.Errorf("an idle sweep made %d calls and counted %d, want 4", cost, r.Calls)
	}
}

// If Procore refuses to show a request, the fetcher gives it up without knowing its request details. The sweep closes them.
func TestUnreadableRequestIsClosedAsFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.runWith(services{"sweep": nil})
	w.must(w.sandbox.Fail(sandbox.FaultRule{Path: "/erp_requests/", Kind: sandbox.FaultStatus, Status: 403}))
	clicked := w.press("create_vendor")
	w.closedHere(clicked)
	if r := l.audit(); r.AccountedFor || r.Counts[string(request.Unclosed)] != 1 {
		t.Errorf("the audit counts %v, want one unclosed", r.Counts)
	}
	s := l.sweeper()
	if r := l.sweep(s); len(r.Closed) != 1 || len(r.Found) != 0 {
		t.Errorf("the sweep closed %v and found %v, want one detail closed", r.Closed, r.Found)
	}
	got := w.wait(clicked)
	if got.Outcome() != sandbox.Failed || len(got.Details[0].Messages) != 1 || !strings.Contains(got.Details[0].Messages[0], "permission") {
		t.Errorf("the request details are %+v", got.Details)
	}
	if r := l.sweep(s); len(r.Closed) != 0 {
		t.Errorf("it was closed twice: %v", r.Closed)
	}
	if r := l.audit(); !r.AccountedFor || r.Counts[string(request.Dead)] != 1 {
		t.Errorf("the audit counts %v, want one dead: %+v", r.Counts, r.Findings)
	}
}

// closedHere waits until a request is closed in the stream, whatever Procore shows.
func (w *world) closedHere(request int64) {
	w.Helper()
	w.mu.Lock()
	news := w.newsOf(request)
	w.mu.Unlock()
	select {
	case <-news:
	case <-time.After(patience):
		w.Fatalf("request %d is not closed after %v", request, patience)
	}
}

// A company whose service account may not read webhooks is swept by its request details, and the error names the missing
// permission. The other company is not affected.
func TestMissingPermissionIsNamedAndAffectsOneCompany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{companies: 2})
	l := w.runWith(services{"ingest": w.noIngest, "sweep": nil})
	w.must(w.sandbox.Fail(sandbox.FaultRule{Path: "webhooks", CompanyID: firstCompany, Kind: sandbox.FaultStatus, Status: 403, Times: 100}))
	s := l.sweeper()
	for i := range int64(2) {
		request := w.pressIn(firstCompany+i, "create_vendor", nil)
		_, err := s.Sweep(w.Context(), firstCompany+i)
		if (err != nil) != (i == 0) || err != nil && !strings.Contains(err.Error(), "permission to read webhooks") {
			t.Errorf("company %d: %v", i, err)
		}
		w.succeeded(request)
	}
}

// Of two replicas that are due at once, one sweeps.
func TestOneOfTwoReplicasSweeps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	l := w.runWith(services{"sweep": sweep.Run})
	w.swept(l, "clean")
	second := prometheus.NewRegistry()
	s, err := sweep.New(sweep.Deps{Bus: l.Bus, Companies: l.Companies, Procore: l.Procore, Log: l.Log, Every: time.Hour}, second)
	w.must(err)
	ctx, stop := context.WithCancel(w.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.counted(second, "skipped")
	stop()
	w.must(<-done)
}

func (w *world) swept(l *line, result string) { w.Helper(); w.counted(l.Registry, result) }

// counted waits until a registry counts a sweep with the result.
func (w *world) counted(reg *prometheus.Registry, result string) {
	w.Helper()
	deadline := time.After(patience)
	for {
		families, err := reg.Gather()
		w.must(err)
		for _, f := range families {
			if f.GetName() == "tieback_sweeps_total" && strings.Contains(fmt.Sprint(f), fmt.Sprintf("value:%q", result)) {
				return
			}
		}
		select {
		case <-deadline:
			w.Fatalf("no sweep with the result %s", result)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Ingest could accept nothing while the broker was down. When it returns, the companies are swept at once, not an hour later.
func TestCompaniesAreSweptWhenBrokerReturns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	o := server.Options{Port: server.RANDOM_PORT, StoreDir: t.TempDir()}
	ns := bustest.Start(t, o)
	p := w.process()
	w.must(p.Connect(t.Context(), bus.Options{URL: ns.ClientURL(), Name: "sweep"}))
	defer p.Bus.Close()
	s, err := sweep.New(sweep.Deps{Bus: p.Bus, Companies: p.Companies, Procore: p.Procore, Log: p.Log, Every: time.Hour, Backoff: p.Backoff, Grace: -1}, p.Registry)
	w.must(err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.counted(p.Registry, "clean")
	o.Port = ns.Addr().(*net.TCPAddr).Port
	bustest.Stop(ns)
	w.press("create_vendor")
	bustest.Start(t, o)
	w.counted(p.Registry, "found")
	stop()
	w.must(<-done)
}
