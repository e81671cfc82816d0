package endtoend

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/operator/status"
	"github.com/tieback/tieback/services/sandbox"
)

// status reads the status once; change may change its options.
func (l *line) status(change func(*status.Options)) *operatorv1.Overview {
	l.world.Helper()
	o := status.Options{Companies: map[int64]string{}, Deadlines: request.Deadlines{Interactive: l.Settings.Deadline, Sync: l.Settings.SyncDeadline}}
	for id, c := range l.Companies {
		o.Companies[id] = c.Name
	}
	if change != nil {
		change(&o)
	}
	r, err := status.New(l.Bus, o).Read(l.world.Context(), time.Minute)
	l.world.must(err)
	return r.Overview(nil)
}

// until reads the status until it satisfies a condition.
func (l *line) until(wanted func(*operatorv1.Overview) bool) *operatorv1.Overview {
	l.world.Helper()
	var r *operatorv1.Overview
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if r = l.status(nil); wanted(r) {
			return r
		}
	}
	l.world.Fatalf("the status does not become as wanted: %s", l.world.json(r))
	return r
}

func queueOf(r *operatorv1.Overview, stage string) *operatorv1.Queue {
	i := slices.IndexFunc(r.Queues, func(q *operatorv1.Queue) bool { return q.Stage == stage })
	return r.Queues[i]
}

func companyOf(r *operatorv1.Overview, id int64) *operatorv1.CompanyState {
	i := slices.IndexFunc(r.Companies, func(c *operatorv1.CompanyState) bool { return c.Id == id })
	return r.Companies[i]
}

func unfinished(r *operatorv1.Overview, stage string) uint64 {
	return queueOf(r, stage).Waiting + queueOf(r, stage).InFlight
}

func needs(r *operatorv1.Overview, part string) bool {
	return slices.ContainsFunc(r.Attention, func(a *operatorv1.Attention) bool { return strings.Contains(status.Line(a), part) })
}

func TestStatusOfIdlePipeline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{companies: 2})
	l := w.run()
	for _, id := range w.vendors(3) {
		w.succeeded(id)
	}
	// Between two of its pulls a stage does not seem to run, so wait until all stages do at once.
	r := l.until(func(r *operatorv1.Overview) bool {
		return len(r.Unread) == 0 && !slices.ContainsFunc(r.Queues, func(q *operatorv1.Queue) bool { return !q.Consumed || q.Waiting+q.InFlight > 0 })
	})
	if len(r.Attention)+len(r.Unread)+len(r.Notes) > 0 || len(r.Queues) != 7 || len(r.Companies) != 2 {
		t.Errorf("status: %s", w.json(r))
	}
	for _, q := range r.Queues {
		if !q.Known || !q.Created || !q.Consumed || q.Waiting+q.InFlight > 0 || q.Oldest != nil {
			t.Errorf("%s: %+v", q.Stage, q)
		}
	}
	for _, stage := range []string{"fetcher", "export", "status-reporter"} {
		if q := queueOf(r, stage); *q.ArrivedPerMinute != 3 || *q.FinishedPerMinute != 3 {
			t.Errorf("%s: %v arrived and %v finished in the last minute, want 3", stage, *q.ArrivedPerMinute, *q.FinishedPerMinute)
		}
	}
	if q := queueOf(r, "sync"); *q.ArrivedPerMinute != 0 || *q.FinishedPerMinute != 0 {
		t.Errorf("sync: %+v", q)
	}
	if c := companyOf(r, firstCompany); c.Succeeded != 3 || c.Failed+c.Open+c.DeadLetters != 0 || c.OldestAge != nil || c.Name != "C0" {
		t.Errorf("the company: %+v", c)
	}
	if c := companyOf(r, firstCompany+1); c.Succeeded != 0 {
		t.Errorf("the other company: %+v", c)
	}
}

func TestStatusShowsUnreachableERP(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{companies: 2, backoff: 10 * time.Millisecond})
	away := w.down()
	l := w.run()
	w.vendors(3)
	other := w.pressIn(firstCompany+1, "create_vendor", nil)
	r := l.until(func(r *operatorv1.Overview) bool {
		if unfinished(r, "fetcher") > 0 {
			return false // an event also counts there until its delivery is acknowledged
		}
		return queueOf(r, "export").InFlight == 4 && queueOf(r, "export").Redelivered > 0 && companyOf(r, firstCompany).Retrying > 0 && companyOf(r, firstCompany+1).Retrying == 1
	})
	if q := queueOf(r, "export"); q.Waiting != 0 || !q.Consumed || q.Oldest == nil || q.Oldest.Type != "create_vendor" {
		t.Errorf("export: %+v", q)
	}
	for id, want := range map[int64]uint64{firstCompany: 3, firstCompany + 1: 1} {
		if c := companyOf(r, id); c.Open != want || c.AtLeast || c.OldestAge == nil || !strings.Contains(c.LastFailure, "connection refused") {
			t.Errorf("company %d: %+v, want %d unfinished", id, c, want)
		}
	}
	if len(r.Attention) > 0 {
		t.Errorf("all events are in time, but something needs attention: %v", r.Attention)
	}
	cut := l.status(func(o *status.Options) { o.MaxUnfinished = 2 })
	if c := companyOf(cut, firstCompany); !c.AtLeast || c.Open > 2 || !strings.Contains(strings.Join(cut.Notes, " "), "export has 4 unfinished messages; the companies' numbers count only the first 2") {
		t.Errorf("limited to two messages: %s", w.json(cut))
	}
	away.Store(false)
	w.succeeded(other)
	r = l.until(func(r *operatorv1.Overview) bool { return companyOf(r, firstCompany+1).Open == 0 })
	if c := companyOf(r, firstCompany+1); c.LastFailure != "" || c.Retrying != 0 || c.Succeeded != 1 {
		t.Errorf("after the request was closed: %+v", c)
	}
}

// An event that hangs keeps the consumer's ack floor low. The events that were finished after it are not counted.
func TestStatusIgnoresFinishedBehindHanging(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	hang, begun := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	w.beforeBooking(func(ctx context.Context) error {
		if calls.Add(1) == 1 {
			close(begun)
			<-hang
		}
		return ctx.Err()
	})
	l := w.run()
	defer l.stop()
	defer close(hang)
	first := w.press("create_vendor")
	<-begun
	for _, id := range w.vendors(5) {
		w.succeeded(id)
	}
	r := l.until(func(r *operatorv1.Overview) bool {
		return unfinished(r, "export") == 1 && unfinished(r, "status-reporter") == 0
	})
	if q := queueOf(r, "export"); q.Oldest == nil || q.Oldest.RequestId != first {
		t.Errorf("export: %s, want request %d as the oldest", w.json(q), first)
	}
	if c := companyOf(r, firstCompany); c.Open != 1 || c.Succeeded != 5 {
		t.Errorf("the company: %+v", c)
	}
}

func TestStatusNamesStageThatDoesNotRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.runWith(services{"export": nil, "sweep": nil})
	press := func(n int) []int64 {
		requests := w.vendors(n)
		for _, id := range requests {
			l.stored(bus.For(bus.Event, "create_vendor", firstCompany, id))
		}
		return requests
	}
	requests := press(2)
	if r := l.status(nil); !needs(r, "2 messages wait for export, and no process pulls them: start the service export") || queueOf(r, "export").Created {
		t.Errorf("an export that never ran: %s", w.json(r))
	}
	l.stop()
	l = w.run()
	for _, id := range requests {
		w.succeeded(id)
	}
	l.until(func(r *operatorv1.Overview) bool {
		return queueOf(r, "export").Created && companyOf(r, firstCompany).Open == 0 && unfinished(r, "status-reporter") == 0
	})
	l.stop()
	l = w.runWith(services{"export": nil, "sweep": nil})
	press(4)
	r := l.status(nil)
	if q := queueOf(r, "export"); q.Consumed || q.Waiting != 4 || q.InFlight != 0 || q.Oldest == nil || !needs(r, "4 messages wait for export") {
		t.Errorf("an export that stopped: %s", w.json(r))
	}
	w.must(l.Bus.PublishOnce(t.Context(), bus.For(bus.Event, "create_vendor", firstCompany+1, 1), &tiebackv1.Event{CompanyId: firstCompany + 1, ErpRequestId: 1}))
	r = l.status(func(o *status.Options) { o.MaxUnfinished = 3; o.MaxRecent = 2 })
	if c := companyOf(r, firstCompany); c.Open != 4 || c.AtLeast || c.OldestAge == nil || queueOf(r, "export").Waiting != 5 || queueOf(r, "export").OldestAge.AsDuration() != c.OldestAge.AsDuration() {
		t.Errorf("limited to three messages: %s", w.json(r))
	}
	if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "companies that are not in the companies file have 1 message at export") ||
		!strings.Contains(notes, "only the newest 2") {
		t.Errorf("notes: %q", notes)
	}
}

func TestStatusCountsOpenDeadLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{companies: 2, deadline: time.Second, backoff: time.Millisecond})
	w.down()
	l := w.run()
	for _, id := range w.vendors(2) {
		w.failed(id, "")
	}
	letters := l.listed(2)
	r := l.status(nil)
	if c := companyOf(r, firstCompany); c.DeadLetters != 2 || c.Failed != 2 || !needs(r, "has 2 unresolved dead letters") || companyOf(r, firstCompany+1).DeadLetters != 0 {
		t.Errorf("with two dead letters: %s", w.json(r))
	}
	_, err := l.resolver("ann@office").Discard(t.Context(), letters[0].ID, "a test")
	w.must(err)
	if r = l.status(nil); companyOf(r, firstCompany).DeadLetters != 1 || !needs(r, "has 1 unresolved dead letter") {
		t.Errorf("after one was discarded: %s", w.json(r))
	}
}

func TestStatusShowsQuota(t *testing.T) {
	t.Parallel()
	const spike = 25
	w := newWorld(t, setup{companies: 2, noHooks: true, limits: sandbox.Config{HourlyLimit: 3600, SpikeLimit: spike}})
	l := w.run()
	quota, err := l.Bus.OpenQuota(t.Context(), 1)
	w.must(err)
	companies, _, err := company.Load(w.file)
	w.must(err)
	client, err := procore.New(procore.Config{APIURL: w.url, LoginURL: w.url}, companies, prometheus.NewRegistry())
	w.must(err)
	client.Publish(quota)
	if _, err := w.session(client, firstCompany).Do(t.Context(), procore.Call{Route: procore.GetERPRequest, ID: 1}); !procore.Gone(err) {
		t.Fatal(err)
	}
	look := func() *operatorv1.Overview {
		return l.status(func(o *status.Options) {
			o.Quota, o.Clients = quota, map[int64]*company.Client{firstCompany: companies[firstCompany].Client, firstCompany + 1: companies[firstCompany+1].Client}
		})
	}
	var r *operatorv1.Overview
	w.eventually(func() string { // the client publishes after the call has returned
		if r = look(); companyOf(r, firstCompany).Quota == nil {
			return "the quota of the called company is unknown: " + w.json(r)
		}
		return ""
	})
	q := companyOf(r, firstCompany).Quota
	if q.Spike == nil || q.Spike.Limit != spike || q.Spike.Remaining <= 0 || q.Hour != nil || q.BlockedUntil != nil {
		t.Errorf("the quota is %s", w.json(q))
	}
	if q := companyOf(r, firstCompany+1).Quota; q != nil {
		t.Errorf("the other company's quota is unknown, but shown as %s", w.json(q))
	}
	// A value that no process of Tieback wrote is not shown.
	_, _, err = quota.Swap(t.Context(), strconv.FormatInt(firstCompany+1, 10), []byte(`{"hour":{"limit":3600,"left":3120}}`), 0)
	w.must(err)
	r = look()
	if q := companyOf(r, firstCompany+1).Quota; q != nil || !strings.Contains(strings.Join(r.Notes, " "), "client's secret") || companyOf(r, firstCompany).Quota == nil {
		t.Errorf("with a foreign value: %s", w.json(r))
	}
}

// Refused credentials need attention after a minute, also while an earlier token is still accepted.
func TestStatusShowsRefusedCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{companies: 2})
	l := w.run()
	quota, err := l.Bus.OpenQuota(t.Context(), 1)
	w.must(err)
	of := procore.LoginKey(firstCompany, "acme")
	client := &company.Client{Name: "acme"}
	revision := uint64(0)
	stored := func(raw []byte) *operatorv1.Overview {
		t.Helper()
		var ok bool
		revision, ok, err = quota.Swap(t.Context(), of, raw, revision)
		if w.must(err); !ok {
			t.Fatal("the store was changed concurrently")
		}
		return l.status(func(o *status.Options) {
			o.Quota, o.Clients = quota, map[int64]*company.Client{firstCompany: client}
		})
	}
	sealed := func(r procore.Refusal) []byte {
		raw, err := r.Seal(firstCompany, client, revision)
		w.must(err)
		return raw
	}
	until := time.Now().Add(time.Hour)
	r := stored(sealed(procore.Refusal{Since: time.Now().Add(-2 * time.Minute), Status: 401, Until: until}))
	if is := companyOf(r, firstCompany).Refusal; is == nil || is.TokenUntil == nil || !is.TokenUntil.AsTime().Equal(until) || !needs(r, "Procore has refused the credentials of client acme") {
		t.Errorf("status: %s", w.json(r))
	}
	if r := stored(sealed(procore.Refusal{Since: time.Now(), Status: 401})); companyOf(r, firstCompany).Refusal == nil || needs(r, "credentials") {
		t.Errorf("just after the refusal: %s", w.json(r))
	}
	if r := stored(nil); companyOf(r, firstCompany).Refusal != nil {
		t.Errorf("after a login: %s", w.json(r))
	}
	forged := stored([]byte(w.json(procore.Refusal{Since: time.Now().Add(-time.Hour), Status: 401})))
	if companyOf(forged, firstCompany).Refusal != nil || needs(forged, "credentials") || !strings.Contains(strings.Join(forged.Notes, " "), "client's secret") {
		t.Errorf("with a forged value: %s", w.json(forged))
	}
}
