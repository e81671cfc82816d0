package endtoend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run"
)

// hooked is a driver that calls a function before each booking.
type hooked struct {
	connector.Driver
	before func(context.Context) error
}

func (d hooked) Put(ctx context.Context, r *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	if err := d.before(ctx); err != nil {
		return nil, err
	}
	return d.Driver.Put(ctx, r)
}

// beforeBooking makes the companies' drivers call a function before each booking. If it returns an error, nothing is booked.
func (w *world) beforeBooking(before func(context.Context) error) {
	books := ledger.Open(run.LedgerDir(w.data))
	w.driver = func(ctx context.Context, company int64, settings map[string]string) (connector.Driver, error) {
		d, err := books.Opener()(ctx, company, settings)
		return hooked{d, before}, err
	}
}

// shows waits until the first request detail has the status and a message that contains want.
func (w *world) shows(request int64, status, want string) {
	w.Helper()
	var d sandbox.Detail
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r, _ := w.sandbox.Request(request)
		d = r.Details[0]
		if d.Status == status && strings.Contains(strings.Join(d.Messages, " "), want) {
			return
		}
	}
	w.Fatalf("request %d has the status %q and the messages %q, want %q with %q", request, d.Status, d.Messages, status, want)
}

// deadLetterOf waits for the dead letter of a request.
func (l *line) deadLetterOf(request int64) *tiebackv1.DeadLetter {
	l.world.Helper()
	for _, d := range l.letters(1) {
		if d.ErpRequestId != request {
			l.world.Errorf("dead letter of request %d, want %d", d.ErpRequestId, request)
		}
		return d
	}
	return nil
}

// While a request waits, Procore shows the reason. At its deadline the request is closed as failed with that reason.
func TestButtonShowsReasonAndIsFreedAtDeadline(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error // of each booking
		cause tiebackv1.Cause
	}{
		"down":      {&fault.Error{Class: fault.Transient, UserMessage: "The books are closed for maintenance."}, tiebackv1.Cause_CAUSE_ERP},
		"throttled": {&fault.Error{Class: fault.Throttled, RetryAfter: time.Hour, UserMessage: "The books take no more calls this hour."}, tiebackv1.Cause_CAUSE_LIMITS},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{deadline: 8 * time.Second, slow: 500 * time.Millisecond})
			w.beforeBooking(func(context.Context) error { return c.err })
			l := w.run()
			request := w.press("create_vendor")
			reason := fault.UserMessage(c.err, "")
			w.shows(request, sandbox.InProgress, reason)
			w.failed(request, "could not be done within 8s")
			w.shows(request, sandbox.Failed, reason)
			if d := l.deadLetterOf(request); d.Cause != c.cause || !strings.HasPrefix(d.Subject, "tb.event.") || d.Message == nil {
				t.Errorf("dead letter %v of %q, want cause %v", d.Cause, d.Subject, c.cause)
			}
		})
	}
}

// The deadline holds while the worker does not run. A worker that starts later must not book what was reported as failed.
func TestButtonIsFreedWhileWorkerIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: 2 * time.Second, slow: 500 * time.Millisecond})
	l := w.runWith(services{"export": nil})
	clicked := w.press("create_vendor")
	w.failed(clicked, "could not be done within 2s")
	if d := l.deadLetterOf(clicked); d.Stage != request.DeadlineStage || d.Cause != tiebackv1.Cause_CAUSE_TIEBACK {
		t.Errorf("dead letter by %q, cause %v", d.Stage, d.Cause)
	}
	l.stop()
	l = w.run()
	w.succeeded(w.press("create_vendor"))
	if all := w.sound(l.Ledger, firstCompany, ledger.Vendor); len(all) != 1 {
		t.Errorf("%d vendors booked, want only the one that was not reported as failed", len(all))
	}
	if n := len(l.messages(bus.Dead)); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

// A booking that succeeds after the deadline is marked, so that Procore shows the record as synced. The request detail stays failed.
func TestBookingAfterDeadlineIsMarked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: time.Second, slow: 500 * time.Millisecond})
	release := make(chan struct{})
	var calls atomic.Int32
	w.beforeBooking(func(ctx context.Context) error {
		if calls.Add(1) == 1 {
			select {
			case <-release:
			case <-ctx.Done():
				return errors.New("interrupted")
			}
		}
		return nil
	})
	l := w.run()
	request := w.press("create_vendor")
	w.failed(request, "could not be done within 1s")
	close(release)
	var late *tiebackv1.Outcome
	for _, m := range l.await(bus.Closed, 2) {
		if s, err := bus.Parse(m.Subject()); err == nil && s.IsLate() {
			late = decoded(t, m.Data())
		}
	}
	if late == nil || late.CloseOuts[0].Status != tiebackv1.Status_STATUS_SUCCESS || late.CloseOuts[0].KeptStatus != sandbox.Failed {
		t.Fatalf("the late outcome was reported as %v", late)
	}
	mark := late.CloseOuts[0].Marks[0]
	link, err := state.Of(l.Bus).OriginID(t.Context(), firstCompany, mark.ItemType, mark.ItemId)
	w.must(err)
	if all := w.sound(l.Ledger, firstCompany, ledger.Vendor); len(all) != 1 || link != mark.OriginId || link == "" {
		t.Errorf("%d vendors booked, linked to %q, marked as %q", len(all), link, mark.OriginId)
	}
	l.deadLetterOf(request)
}

// Procore does not answer the reports of one company. The other company's request is still closed at its deadline.
func TestHangingReportsOfCompanyDelayNoOtherDeadline(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	hang := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, fmt.Sprintf("/companies/%d/erp_request_details/sync", int64(firstCompany))) {
				<-release
			}
			h.ServeHTTP(rw, r)
		})
	}
	w := newWorld(t, setup{companies: 2, deadline: 4 * time.Second, slow: 500 * time.Millisecond, timeout: 10 * time.Minute, around: hang})
	w.beforeBooking(func(context.Context) error {
		return &fault.Error{Class: fault.Transient, UserMessage: "The books are closed."}
	})
	w.run()
	hanging := w.pressIn(firstCompany, "create_vendor", nil)
	other := w.pressIn(firstCompany+1, "create_vendor", nil)
	w.failed(other, "could not be done within 4s")
	if r, _ := w.sandbox.Request(hanging); r.IsClosed() {
		t.Error("the request whose reports hang is closed")
	}
	close(release)
	w.wait(hanging)
}
