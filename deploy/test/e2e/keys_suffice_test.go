package endtoend

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/console/operator/links"
	"github.com/tieback/tieback/services/console/operator/status"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
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
	w.operates(l, missed)
	l.stop()
	w.expiredAndReplayed(g)
	for _, k := range []bus.Kind{bus.Delivery, bus.Event, bus.Outcome, bus.Closed} { // as bus.Remover does; this removes nothing
		s, err := g.bus("sweep").JetStream().Stream(t.Context(), k.Stream())
		w.must(err)
		w.must(s.Purge(t.Context(), jetstream.WithPurgeSequence(1)))
	}
	for of, text := range map[string]string{"the services": log.all(), "the broker": g.said.String()} {
		for _, v := range violations(text) {
			t.Errorf("%s: %s", of, v)
		}
	}
}

// operates makes each call of the operator API, with the key of the console. No answer has a secret.
func (w *world) operates(l *line, clicked int64) {
	w.Helper()
	o := l.console()
	c := o.api
	ctx, cancel := context.WithTimeout(w.Context(), patience) // what the broker refuses is repeated until then
	defer cancel()
	w.eventually(func() string {
		if all, err := o.requests(&operatorv1.ListRequestsRequest{}); err != nil || len(all) == 0 {
			return fmt.Sprintf("the index has %v (%v)", all, err)
		}
		return ""
	})
	letters, err := c.ListDeadLetters(ctx, &operatorv1.ListDeadLettersRequest{})
	w.must(err)
	if len(letters.DeadLetters) == 0 {
		w.Fatal("there is no dead letter to resolve")
	}
	letter := letters.DeadLetters[0].Id
	letterAnswer, err := c.GetDeadLetter(ctx, &operatorv1.GetDeadLetterRequest{Id: letter, IncludePayload: true})
	w.must(err)
	w.must(state.Of(l.Bus).Retry(ctx, state.Retry{Company: firstCompany, Request: clicked, At: time.Now()})) // what TryNow writes
	since := timestamppb.New(time.Now().Add(-time.Hour))
	for name, call := range map[string]func() (proto.Message, error){
		"GetOverview": func() (proto.Message, error) { return c.GetOverview(ctx, &operatorv1.GetOverviewRequest{}) },
		"FindRequests": func() (proto.Message, error) {
			return c.FindRequests(ctx, &operatorv1.FindRequestsRequest{Text: fmt.Sprint(clicked)})
		},
		"GetRequest": func() (proto.Message, error) {
			return c.GetRequest(ctx, &operatorv1.GetRequestRequest{RequestId: clicked, IncludePayload: true, AskProcore: true})
		},
		"ListDeadLetters": func() (proto.Message, error) { return letters, nil },
		"GetDeadLetter":   func() (proto.Message, error) { return letterAnswer, nil },
		"PreviewReplay": func() (proto.Message, error) {
			return c.PreviewReplay(ctx, &operatorv1.PreviewReplayRequest{Ids: []uint64{letter}})
		},
		"ListCompanies": func() (proto.Message, error) { return c.ListCompanies(ctx, &operatorv1.ListCompaniesRequest{}) },
		"ListLinks": func() (proto.Message, error) {
			return c.ListLinks(ctx, &operatorv1.ListLinksRequest{CompanyId: firstCompany})
		},
		"CheckLinks": func() (proto.Message, error) {
			return c.CheckLinks(ctx, &operatorv1.CheckLinksRequest{CompanyId: firstCompany})
		},
		"RebuildLinks": func() (proto.Message, error) {
			return c.RebuildLinks(ctx, &operatorv1.RebuildLinksRequest{CompanyId: firstCompany, Force: true})
		},
		"Check": func() (proto.Message, error) { return c.Check(ctx, &operatorv1.CheckRequest{}) },
		"Pause": func() (proto.Message, error) {
			return c.Pause(ctx, &operatorv1.PauseRequest{CompanyId: firstCompany, Stage: "reset", Reason: "a test"})
		},
		"Resume": func() (proto.Message, error) {
			return c.Resume(ctx, &operatorv1.ResumeRequest{CompanyId: firstCompany, Stage: "reset"})
		},
		"Audit": func() (proto.Message, error) {
			return c.Audit(ctx, &operatorv1.AuditRequest{CompanyId: firstCompany, Since: since})
		},
		"Sweep": func() (proto.Message, error) { return c.Sweep(ctx, &operatorv1.SweepRequest{CompanyId: firstCompany}) },
		"Discard": func() (proto.Message, error) {
			return c.Discard(ctx, &operatorv1.DiscardRequest{Ids: []uint64{letter}, Reason: "a test"})
		},
	} {
		r, err := call()
		if err != nil {
			w.Errorf("%s: %v", name, err)
			continue
		}
		raw, err := protojson.Marshal(r)
		w.must(err)
		for _, secret := range []string{w.token, w.secret} {
			if strings.Contains(string(raw), secret) {
				w.Errorf("%s answers with a secret: %s", name, raw)
			}
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
