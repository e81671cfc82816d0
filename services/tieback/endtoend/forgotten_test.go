package endtoend

import (
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
)

// Found by chaos (seed 39): a broker that lost power forgets acks, and that it delivered at all.
// What was told comes again as if for the first time: an unlink was refused by Procore as made
// already, and its event became a dead letter.
func TestABrokerThatForgetsWhatWasDoneMakesNoDeadLetter(t *testing.T) {
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
		floor, err := b.Floor(t.Context(), bus.Outcome, "status-reporter")
		w.must(err)
		if floor >= last {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("told up to %d of %d", floor, last)
		}
	}
	if dead := l.messages(bus.Dead); len(dead) > before {
		t.Errorf("%d dead letters more, the last is %s", len(dead)-before, dead[len(dead)-1].Subject)
	}
}
