package endtoend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/console/operator/links"
	"github.com/tieback/tieback/services/console/operator/status"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run"
)

// Each service and the command line have their own key. A company's life needs no other right: every event type, retries, dead
// letters, deadlines, a replay, missed deliveries, status, trace, an audit and a rebuild of the links. The broker refuses nothing.
func TestOwnPermissionsSuffice(t *testing.T) {
	t.Parallel()
	log := &logRecorder{more: make(chan struct{})}
	w := newWorld(t, setup{log: log.core(), slow: 100 * time.Millisecond})
	g := newGuarded(t)
	l := w.runApart(g, func() { w.waitsForStreams(g, log) })
	w.retried(l, log)
	w.playWith(l)
	requests := w.every()
	unknown := w.pressIn(firstCompany, "create_spaceship", map[string]any{"request_data": map[string]any{"request_detail_id": 0}})
	for _, clicked := range append(requests, unknown) {
		w.wait(clicked)
	}
	w.must(w.sandbox.RotateToken(firstCompany, "not-the-webhook-token"))
	missed := w.press("create_vendor")
	w.succeeded(missed)
	log.await(t, 0, "sweep found something", fmt.Sprint(missed))
	w.must(w.sandbox.RotateToken(firstCompany, w.token))
	quota, err := l.Bus.OpenQuota(t.Context(), 1)
	w.must(err)
	w.rebuild(l, links.Options{Force: true})
	if r := l.status(func(o *status.Options) {
		o.Quota, o.Clients = quota, map[int64]*company.Client{firstCompany: l.Companies[firstCompany].Client}
	}); len(r.Unread) > 0 || companyOf(r, firstCompany).Quota == nil {
		t.Errorf("status: %s", w.json(r))
	}
	w.verdict(l.story(firstCompany, missed, nil), request.Success)
	if r := l.audit(); !r.AccountedFor || int(r.Requests) < len(requests)+2 {
		t.Errorf("the audit accounts for %v of %d: %+v", r.Counts, r.Requests, amiss(r))
	}
	l.stop()
	w.expiredAndReplayed(g)
	for of, text := range map[string]string{"the services": log.all(), "the broker": g.said.String()} {
		for _, v := range violations(text) {
			t.Errorf("%s: %s", of, v)
		}
	}
}

// waitsForStreams checks that all services wait for their streams, and creates them.
func (w *world) waitsForStreams(g *guarded, log *logRecorder) {
	w.Helper()
	for name := range run.Services(nil) {
		log.await(w.T, 0, "or for `provisioner` to create streams and consumers", `"service":"`+name+`"`)
	}
	if made := g.provision(0); strings.Count(made, ": created\n") != len(bus.Kinds)+3+len(topology.Durables()) {
		w.Errorf("streams made:\n%s", made)
	}
}

// retried makes each kind of consumer retry a message, which records its attempts.
func (w *world) retried(l *line, log *logRecorder) {
	w.Helper()
	books, err := l.Ledger.Company(w.Context(), firstCompany)
	w.must(err)
	_, err = books.Add(w.Context(), &ledger.Record{Entity: ledger.Vendor, Name: "Acme"})
	w.must(err)
	w.must(books.Close())
	for _, rule := range []sandbox.FaultRule{
		{Path: "/erp_requests/", Kind: sandbox.FaultStatus, Status: 500, Times: 1},
		{Path: "/staged_records/sync", Kind: sandbox.FaultStatus, Status: 500, Times: 1},
		{Path: "/erp_request_details/sync", Kind: sandbox.FaultStatus, Status: 500, Times: 4}, // some of them hit other reports
	} {
		w.must(w.sandbox.Fail(rule))
	}
	w.wait(w.press("sync_vendors"))
	for _, service := range []string{"fetcher", "sync", "status-reporter"} {
		log.await(w.T, 0, `"verdict":"again"`, `"service":"`+service+`"`)
	}
}

// expiredAndReplayed lets an event expire while the ERP is down, and replays its dead letter.
func (w *world) expiredAndReplayed(g *guarded) {
	w.Helper()
	w.deadline = time.Second
	away := w.down()
	l := w.runApart(g, func() {})
	request := w.press("create_vendor")
	w.failed(request, "")
	if r := l.status(nil); len(companyOf(r, firstCompany).Troubles) == 0 {
		w.Errorf("status shows no trouble while the ERP is down: %s", w.json(r))
	}
	away.Store(false)
	for _, e := range l.replayed(l.letterOf(request)) {
		w.ended(e, tiebackv1.Status_STATUS_SUCCESS, "failed", "")
	}
	l.stop()
}

// letterOf waits for the dead letter of a request and returns its id.
func (l *line) letterOf(clicked int64) uint64 {
	l.world.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		all, err := request.DeadLetters(l.world.Context(), l.Bus, request.Filter{})
		l.world.must(err)
		if i := slices.IndexFunc(all, func(d request.DeadLetter) bool { return d.ErpRequestId == clicked }); i >= 0 {
			return all[i].ID
		}
	}
	l.world.Fatalf("request %d is not among the dead letters", clicked)
	return 0
}
