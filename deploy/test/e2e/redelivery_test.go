package endtoend

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/broker"
)

// A broker that loses power may lose acks and delivery counts, so a reported outcome is delivered again as if for the first
// time. Procore refuses to repeat an unlink; that must not become a dead letter. Found by chaos, seed 39.
func TestLostAcksCauseNoDeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	srv := w.startBroker()
	t.Cleanup(srv.Close)
	l := w.runOn(srv)
	for _, eventType := range []string{"create_vendor", "create_standard_cost_codes", "unlink_vendor", "unlink_standard_cost_codes"} {
		w.wait(w.press(eventType))
	}
	before := len(l.messages(bus.Dead))
	l.stop()

	b, err := bus.Connect(t.Context(), bus.Options{InProcess: srv.InProcess(), Name: "test", Log: zap.NewNop()})
	w.must(err)
	t.Cleanup(b.Close)
	w.must(b.JetStream().DeleteConsumer(t.Context(), bus.Outcome.Stream(), "status-reporter"))
	w.must(b.JetStream().DeleteConsumer(t.Context(), bus.Event.Stream(), "unlink"))

	l = w.runOn(srv)
	w.succeeded(w.press("create_vendor"))
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		last, err := b.LastSequence(t.Context(), bus.Outcome)
		w.must(err)
		floor, err := b.AckFloor(t.Context(), bus.Outcome, "status-reporter")
		w.must(err)
		if floor >= last {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("reported up to %d of %d", floor, last)
		}
	}
	if dead := l.messages(bus.Dead); len(dead) > before {
		t.Errorf("%d dead letters more, the last is %s", len(dead)-before, dead[len(dead)-1].Subject)
	}
}

// All durable consumers are lost after requests of all event types and a hundred vendors were closed, and the events and outcomes
// have been removed. Everything is delivered again as if for the first time. That costs no call to Procore
// or the ERP, and a new request is closed at once.
func TestRecreatedConsumersRepeatNothing(t *testing.T) {
	t.Parallel()
	writes := &atomic.Int64{}
	w := newWorld(t, setup{driver: counting(yesERPs(), writes)})
	srv := w.startBroker()
	t.Cleanup(srv.Close)
	quiet := services{"sweep": nil}
	l := w.runOnWith(srv, quiet)
	requests := append(w.every(), w.vendors(100)...)
	for _, id := range requests {
		w.wait(id)
	}
	w.must(w.sandbox.Fail(sandbox.FaultRule{Path: "/erp_requests/", Kind: sandbox.FaultStatus, Status: 403, Times: 1}))
	refused := w.press("create_vendor") // a dead letter of the fetcher, which makes no more calls
	w.closedHere(refused)
	for _, kind := range []bus.Kind{bus.Event, bus.Outcome} { // as bus.Remover does
		s, err := l.Bus.JetStream().Stream(t.Context(), kind.Stream())
		w.must(err)
		w.must(s.Purge(t.Context()))
	}
	l.stop()
	w.deleteConsumers(srv)

	booked, called := writes.Load(), w.sandbox.TotalCalls()
	l = w.runOnWith(srv, quiet)
	began := time.Now()
	last := w.press("create_vendor")
	w.succeeded(last)
	t.Logf("a click beside %d requests that come again was closed after %v", len(requests), time.Since(began))
	w.drained(l)
	// A token, and three for the new request: it is read, marked and closed.
	if n := w.sandbox.TotalCalls() - called; n > 4 {
		t.Errorf("%d calls to Procore for one new click and %d old ones: %v", n, len(requests), w.sandbox.Counts())
	}
	if n := writes.Load() - booked; n != 1 {
		t.Errorf("%d calls change the ERP, want 1 for the new click", n)
	}
	for _, kind := range []bus.Kind{bus.Delivery, bus.Closed} {
		if n := len(l.messages(kind)); n != len(requests)+2 {
			t.Errorf("%d messages in %s, want %d", n, kind.Stream(), len(requests)+2)
		}
	}
}

// counting counts the calls that change an ERP.
func counting(open connector.Opener, writes *atomic.Int64) connector.Opener {
	return func(ctx context.Context, company int64, settings map[string]string) (connector.Driver, error) {
		d, err := open(ctx, company, settings)
		return &countingERP{d, writes}, err
	}
}

type countingERP struct {
	connector.Driver
	writes *atomic.Int64
}

func (e *countingERP) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	e.writes.Add(1)
	return e.Driver.Put(ctx, q)
}

func (e *countingERP) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	e.writes.Add(1)
	return e.Driver.Remove(ctx, q)
}

// deleteConsumers deletes all durable consumers.
func (w *world) deleteConsumers(srv *broker.Server) {
	w.Helper()
	b, err := bus.Connect(w.Context(), bus.Options{InProcess: srv.InProcess(), Name: "test", Log: zap.NewNop()})
	w.must(err)
	defer b.Close()
	for _, d := range topology.Durables() {
		w.must(b.JetStream().DeleteConsumer(w.Context(), d.Kind.Stream(), d.Name))
	}
}

// drained waits until all durable consumers have finished their streams.
func (w *world) drained(l *line) {
	w.Helper()
	for _, d := range topology.Durables() {
		for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			c, err := l.Bus.JetStream().Consumer(w.Context(), d.Kind.Stream(), d.Name)
			w.must(err)
			if info := c.CachedInfo(); info.NumPending == 0 && info.NumAckPending == 0 {
				break
			}
			if time.Now().After(end) {
				w.Fatalf("consumer %s: %+v", d.Name, c.CachedInfo())
			}
		}
	}
}
