package endtoend

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/operator/audit"
	"github.com/tieback/tieback/services/sandbox"
)

// Twelve requests succeed, and four do not, each in another way. The audit names those four.
func TestAuditReportsExactlyWhatIsNotClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.runWith(services{"sweep": nil})
	for _, id := range w.vendors(12) {
		w.succeeded(id)
	}
	l.clean(12)

	w.must(w.sandbox.Fail(sandbox.FaultRule{Path: "/erp_requests/", Kind: sandbox.FaultStatus, Status: 404}))
	unread := w.press("create_vendor")
	w.closedHere(unread)
	l.stop()

	l = w.runWith(services{"sweep": nil, "fetcher": nil})
	lost, waiting, lied := w.press("create_vendor"), w.press("create_vendor"), w.press("create_vendor")
	for _, id := range []int64{lost, waiting, lied} {
		l.stored(bus.For(bus.Delivery, "", firstCompany, id))
	}
	l.delete(bus.For(bus.Delivery, "", firstCompany, lost))
	r, _ := w.sandbox.Request(lied)
	w.must(l.Bus.PublishOnce(w.Context(), bus.For(bus.Closed, "create_vendor", firstCompany, lied), &tiebackv1.Outcome{
		CompanyId: firstCompany, ErpRequestId: lied, Type: "create_vendor",
		CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: r.Details[0].ID, Status: tiebackv1.Status_STATUS_SUCCESS}},
	}))
	report := l.audit()
	got := map[int64]request.Class{}
	for _, f := range amiss(report) {
		got[f.RequestId] = request.Class(f.Class)
	}
	want := map[int64]request.Class{unread: request.Unclosed, lost: request.Missed, waiting: request.InProgress, lied: request.Mismatch}
	if !maps.Equal(got, want) || report.AccountedFor || report.Requests != 16 || report.Counts[string(request.Success)] != 12 {
		t.Errorf("findings %v, want %v; counts %v, %d requests", got, want, report.Counts, report.Requests)
	}
	if f := of(report, waiting); f.Stage != "fetcher" || f.Attempts != 1 || len(f.OpenRequestDetails) != 1 {
		t.Errorf("the finding of the waiting request is %+v", f)
	}
	if f := of(report, unread); !strings.Contains(f.Why, "dead letter 1 of fetcher") {
		t.Errorf("the finding of the unreadable request has the reason %q", f.Why)
	}

	// The sweep repairs what it can: the missed delivery, and the open request detail of the dead letter.
	s := l.sweeper()
	if r := l.sweep(s); !slices.Equal(r.Found, []int64{lost}) || len(r.Closed) != 1 {
		t.Errorf("the sweep found %v and closed %v", r.Found, r.Closed)
	}
	l.stop()
	l = w.runWith(services{"sweep": nil})
	w.succeeded(lost)
	w.succeeded(waiting)
	w.wait(unread)
	l.stored(bus.For(bus.Closed, "", firstCompany, unread).WithRun(bus.Swept)) // until the status-reporter has reported it
	report = l.audit()
	for _, f := range amiss(report) {
		if f.RequestId != lied {
			t.Errorf("after the sweep: %+v", f)
		}
	}
}

// of returns the finding of a request.
func of(r *operatorv1.AuditResponse, request int64) *operatorv1.AuditFinding {
	i := slices.IndexFunc(r.Findings, func(f *operatorv1.AuditFinding) bool { return f.RequestId == request })
	return r.Findings[i]
}

// A request that Procore no longer lists is judged by the streams. Requests outside of the period are not counted.
func TestAuditCoversItsPeriod(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.runWith(services{"sweep": nil})
	w.succeeded(w.press("create_vendor"))
	unlisted := bus.For(bus.Closed, "create_vendor", firstCompany, 4711)
	w.must(l.Bus.PublishOnce(w.Context(), bus.For(bus.Delivery, "", firstCompany, 4711), &tiebackv1.Delivery{CompanyId: firstCompany, ErpRequestId: 4711, OccurredAt: timestamppb.Now()}))
	w.must(l.Bus.PublishOnce(w.Context(), unlisted, &tiebackv1.Outcome{CompanyId: firstCompany, ErpRequestId: 4711, Type: "create_vendor"}))
	if r := l.audit(); !r.AccountedFor || r.Requests != 2 || r.Unlisted != 1 {
		t.Errorf("%d requests, %d unlisted, accounted for: %v, %+v", r.Requests, r.Unlisted, r.AccountedFor, r.Findings)
	}
	session, err := l.Procore.Company(firstCompany)
	w.must(err)
	before, err := audit.Read(w.Context(), &erplog.Reader{Session: session, Company: firstCompany}, l.Bus,
		audit.Options{Since: time.Now().Add(-60 * 24 * time.Hour), Until: time.Now().Add(-time.Hour)})
	w.must(err)
	if before.Requests != 0 || len(before.Notes) != 1 || !strings.Contains(before.Notes[0], topology.DefaultRetention.Delivery.String()) {
		t.Errorf("before the first click: %d requests, notes %q", before.Requests, before.Notes)
	}
}

// stored waits until a subject has a message.
func (l *line) stored(s bus.Subject) {
	l.world.Helper()
	ctx, cancel := context.WithTimeout(l.world.Context(), patience)
	defer cancel()
	for {
		has, err := l.Bus.Has(ctx, s)
		l.world.must(err)
		if has {
			return
		}
	}
}

// delete removes the message of a subject from its stream. No service does that.
func (l *line) delete(s bus.Subject) {
	l.world.Helper()
	m, has, err := l.Bus.Last(l.world.Context(), s)
	l.world.must(err)
	if !has {
		l.world.Fatalf("%v has no message", s)
	}
	stream, err := l.Bus.JetStream().Stream(l.world.Context(), m.Stream)
	l.world.must(err)
	l.world.must(stream.DeleteMsg(l.world.Context(), m.Sequence))
}
