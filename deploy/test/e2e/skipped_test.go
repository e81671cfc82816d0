package endtoend

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
)

const (
	fetches = "GET /rest/v1.0/companies/{company_id}/erp_requests/{id}"
	asks    = "GET /rest/v1.0/companies/{company_id}/erp_request_details/{id}"
)

// connectedNow connects the companies after all requests so far; Procore's times are in seconds.
func (w *world) connectedNow() {
	w.Helper()
	w.since = time.Now().Truncate(time.Second).Add(time.Second)
	time.Sleep(time.Until(w.since))
	w.writeCompanies()
}

// Requests from before a company was connected arrive late by webhook and are in Procore's lists. They are recorded, neither
// fetched nor processed, and not reported to Procore.
func TestRequestsOlderThanSinceAreNotProcessed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	old := w.vendors(3) // ingest does not run yet: Procore retries
	w.connectedNow()
	l := w.runWith(services{"sweep": nil})
	for _, id := range old {
		w.closedHere(id)
	}
	w.succeeded(w.press("create_vendor"))
	if n := w.sandbox.Counts()[fetches]; n != 1 {
		t.Errorf("%d requests were fetched, want the new one alone", n)
	}
	for _, id := range old {
		r, _ := w.sandbox.Request(id)
		if d := r.Details[0]; d.Status != sandbox.InProgress || len(d.Messages) > 0 || w.isDead(id) {
			t.Errorf("old request %d: %+v", id, d)
		}
	}
	r := l.sweep(l.sweeper())
	if len(r.Skipped) != len(old) || len(r.Found)+len(r.Closed) != 0 || !strings.Contains(r.Skipped[0].Why, "the company's setting \"since\"") {
		t.Errorf("the sweep: %+v", r)
	}
	if a := l.audit(); !a.AccountedFor || int(a.Counts[string(request.Older)]) != len(old) || a.Counts[string(request.Success)] != 1 {
		t.Errorf("the audit: %v, %+v", a.Counts, a.Findings)
	}
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != 1 {
		t.Errorf("%d vendors are booked", booked)
	}
}

// Without a webhook, a sweep reports the old requests and brings in the new one.
func TestSweepBringsInNothingOlderThanSince(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: sandbox.Config{Speed: 13 * 3600}})
	l := w.runWith(services{"ingest": w.noIngest, "sweep": nil})
	old := w.vendors(3)
	w.flushed(l, len(old))
	l.stop()
	w.connectedNow()
	l = w.runWith(services{"ingest": w.noIngest, "sweep": nil})
	fresh := w.press("create_vendor")
	w.flushed(l, len(old)+1)
	if a := l.audit(); a.AccountedFor || int(a.Counts[string(request.Older)]) != len(old) || a.Counts[string(request.Missed)] != 1 {
		t.Errorf("the audit before: %v", a.Counts)
	}
	r := l.sweep(l.sweeper())
	if len(r.Skipped) != 2*len(old) || len(r.Found) != 1 || r.Found[0] != fresh { // a delivery and a request detail for each
		t.Errorf("the sweep: %+v", r)
	}
	w.succeeded(fresh)
	if n := len(l.messages(bus.Delivery)); n != 1 {
		t.Errorf("%d deliveries", n)
	}
}

// Request details that were rejected, or have an unknown status, are not open: a sweep does not bring them in.
func TestSweepBringsInNoRejectedRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: sandbox.Config{Speed: 13 * 3600}})
	l := w.runWith(services{"ingest": w.noIngest, "sweep": nil})
	requests := w.vendors(4)
	for i, status := range []string{sandbox.Rejected, sandbox.Stale, "on_hold"} {
		w.must(w.sandbox.Reject(requests[i], status))
	}
	r := l.sweep(l.sweeper())
	if len(r.Skipped) != 3 || len(r.Found) != 1 || r.Found[0] != requests[3] {
		t.Errorf("the sweep: %+v", r)
	}
	w.succeeded(requests[3])
	a := l.audit()
	if a.AccountedFor || a.Counts[string(request.CalledOff)] != 2 || a.Counts[string(request.Unknown)] != 1 || a.Counts[string(request.Success)] != 1 {
		t.Errorf("the audit: %v, %+v", a.Counts, a.Findings)
	}
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != 1 {
		t.Errorf("%d vendors are booked, want 1", booked)
	}
}

// An approver rejects an export while the ERP is down, after it was reported as in progress. When the ERP is back, only the
// other export is booked. Procore is asked once about each, and not while the ERP is down.
func TestRequestRejectedWhileERPIsDownIsNotBooked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{slow: 200 * time.Millisecond})
	away := w.down()
	open := w.driver
	w.driver = func(ctx context.Context, company int64, settings map[string]string) (connector.Driver, error) {
		d, err := open(ctx, company, settings)
		return unreachable{d.(hooked)}, err
	}
	l := w.runWith(services{"sweep": nil})
	off, on := w.press("create_vendor"), w.press("create_vendor")
	for _, id := range []int64{off, on} {
		w.toldToWait(id)
	}
	w.triedAgain(l, 2)
	if n := w.sandbox.Counts()[asks]; n > 2 { // of late first attempts
		t.Errorf("%d calls ask about request details while the ERP is down", n)
	}
	w.must(w.sandbox.Reject(off, ""))
	away.Store(false)
	w.succeeded(on)
	w.closedHere(off)
	w.notProcessed(l, off)
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != 1 {
		t.Errorf("%d vendors are booked, want 1", booked)
	}
	if n := w.sandbox.Counts()[asks]; n > 6 {
		t.Errorf("%d calls ask about 2 request details", n)
	}
}

// A request is rejected before it is reported as in progress. Procore refuses that report, which settles the request.
func TestRequestRejectedBeforeInProgressIsNotProcessed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{slow: 200 * time.Millisecond})
	w.down()
	l := w.runWith(services{"sweep": nil})
	request := w.press("create_vendor")
	w.must(w.sandbox.Reject(request, ""))
	w.closedHere(request)
	w.notProcessed(l, request)
}

// unreachable is an ERP in which lookups fail too.
type unreachable struct{ hooked }

func (d unreachable) Find(ctx context.Context, r *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	if err := d.before(ctx); err != nil {
		return nil, err
	}
	return d.Driver.Find(ctx, r)
}

// toldToWait waits until Procore shows a message for a request.
func (w *world) toldToWait(request int64) {
	w.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if r, _ := w.sandbox.Request(request); len(r.Details[0].Messages) > 0 {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("Procore shows no message for request %d", request)
		}
	}
}

// triedAgain waits until another attempt at each of the first n events has failed. Further attempts look up the booking first.
func (w *world) triedAgain(l *line, n uint64) {
	w.Helper()
	tries := func(event uint64) int {
		a, err := l.Bus.Attempts(w.Context(), bus.AttemptKey{Stream: bus.Event.Stream(), Consumer: "export", Sequence: event})
		w.must(err)
		return a.Done
	}
	for event := uint64(1); event <= n; event++ {
		for before, end := tries(event), time.Now().Add(patience); tries(event) <= before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				w.Fatalf("event %d is not retried", event)
			}
		}
	}
}

// notProcessed checks that a rejected request is unchanged and has no dead letter.
func (w *world) notProcessed(l *line, clicked int64) {
	w.Helper()
	if r, _ := w.sandbox.Request(clicked); r.Details[0].Status != sandbox.Rejected || w.isDead(clicked) {
		w.Errorf("request %d: %+v, dead-lettered: %v", clicked, r.Details, w.isDead(clicked))
	}
	a := l.audit()
	if !a.AccountedFor || a.Counts[string(request.CalledOff)] != 1 {
		w.Errorf("the audit: %v, %+v", a.Counts, a.Findings)
	}
}

// A delivery arrives minutes after the click, as from a sweep. The export was rejected meanwhile.
func TestLateRequestThatWasRejectedIsNotBooked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.sandbox.SkewClock(-5 * time.Minute)
	l := w.runWith(services{"sweep": nil, "export": nil})
	off, on := w.press("create_vendor"), w.press("create_vendor")
	w.fetched(l, 2)
	l.stop()
	w.must(w.sandbox.Reject(off, ""))
	l = w.runWith(services{"sweep": nil})
	w.succeeded(on)
	w.closedHere(off)
	w.notProcessed(l, off)
	if n := w.sandbox.Counts()[asks]; n != 2 {
		t.Errorf("%d calls ask about 2 request details", n)
	}
}

// fetched waits for n events.
func (w *world) fetched(l *line, n uint64) {
	w.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		got, err := l.Bus.LastSequence(w.Context(), bus.Event)
		w.must(err)
		if got >= n {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("%d events", got)
		}
	}
}
