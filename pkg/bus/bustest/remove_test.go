package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// retained is the retention in these tests. A new consumer counts as unfinished for 2 seconds.
const retained = 2500 * time.Millisecond

// shortRetention returns options for a broker with the data in dir, whose streams have the retention retained.
func shortRetention(t *testing.T, dir string) bus.Options {
	t.Helper()
	o := bustest.Options(bustest.Start(t, server.Options{StoreDir: dir}))
	o.Retention = topology.Retention{Delivery: retained, Event: retained, Outcome: retained, Closed: retained}
	setUp(t, o)
	return o
}

// stageOf has the consumers that the tests use. Events are exports.
var stageOf = map[bus.Kind]string{bus.Delivery: "fetcher", bus.Event: "export", bus.Outcome: "status-reporter"}

// history publishes all messages of the requests from..to.
func history(t *testing.T, b *bus.Bus, from, to int64) {
	t.Helper()
	for id := from; id <= to; id++ {
		must(t, b.PublishOnce(t.Context(), bus.For(bus.Delivery, "", 7, id), &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: id}))
		must(t, b.PublishOnce(t.Context(), bus.For(bus.Event, "create_vendor", 7, id), &tiebackv1.Event{CompanyId: 7, ErpRequestId: id}))
		for _, k := range []bus.Kind{bus.Outcome, bus.Closed} {
			must(t, b.PublishOnce(t.Context(), bus.For(k, "create_vendor", 7, id), &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: id}))
		}
	}
}

// unfinished returns how many messages of a kind its stage has not finished.
func unfinished(t *testing.T, b *bus.Bus, k bus.Kind, stage string) int {
	t.Helper()
	c, err := b.JetStream().Consumer(t.Context(), k.Stream(), stage)
	if err != nil {
		t.Fatal(err)
	}
	return int(c.CachedInfo().NumPending) + c.CachedInfo().NumAckPending //nolint:gosec // a small number
}

// finish finishes the messages of a kind, except those of one request.
func finish(t *testing.T, b *bus.Bus, k bus.Kind, except int64) {
	t.Helper()
	want := 0
	if except != 0 {
		want = 1
	}
	consume(t, b, bus.Consumer{Kind: k, Name: stageOf[k], Handle: func(ctx context.Context, m bus.Message) error {
		if m.Subject.Request == except {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}, func() bool { return unfinished(t, b, k, stageOf[k]) == want })
}

// firsts returns the lowest sequence of each stream.
func firsts(t *testing.T, b *bus.Bus) string {
	t.Helper()
	text := ""
	for _, k := range []bus.Kind{bus.Delivery, bus.Event, bus.Outcome, bus.Closed} {
		s, err := b.JetStream().Stream(t.Context(), k.Stream())
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("%s %d, ", k, s.CachedInfo().State.FirstSeq)
	}
	return text
}

// Messages are removed when their retention has ended, but not if they are unfinished, and not if a message that is kept needs
// them: the payload of an outcome that is not reported yet, and what shows that a message was processed.
func TestRemoverKeepsWhatIsNeeded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		except map[bus.Kind]int64 // the request that the stage does not finish
		want   string
	}{
		"all are finished":       {nil, "delivery 4, event 4, outcome 4, closed 4, "},
		"a delivery is not":      {map[bus.Kind]int64{bus.Delivery: 2}, "delivery 2, event 4, outcome 4, closed 2, "},
		"an event is not":        {map[bus.Kind]int64{bus.Event: 2}, "delivery 4, event 2, outcome 2, closed 2, "},
		"the first event is not": {map[bus.Kind]int64{bus.Event: 1}, "delivery 4, event 1, outcome 1, closed 1, "},
		"an outcome is not":      {map[bus.Kind]int64{bus.Outcome: 2}, "delivery 4, event 1, outcome 1, closed 1, "},
		"an event, an outcome":   {map[bus.Kind]int64{bus.Event: 3, bus.Outcome: 2}, "delivery 4, event 1, outcome 1, closed 1, "},
		"a delivery, an outcome": {map[bus.Kind]int64{bus.Delivery: 3, bus.Outcome: 3}, "delivery 3, event 1, outcome 1, closed 1, "},
		"no delivery is":         {map[bus.Kind]int64{bus.Delivery: -1}, "delivery 1, event 4, outcome 4, closed 1, "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := connectManaged(t, shortRetention(t, t.TempDir()))
			history(t, b, 1, 3)
			for k := range stageOf {
				if c.except[k] >= 0 {
					finish(t, b, k, c.except[k])
				}
			}
			time.Sleep(retained)
			r := b.NewRemover()
			_, err := r.Remove(t.Context())
			must(t, err)
			history(t, b, 4, 4) // younger than the retention
			for range 2 {
				_, err := r.Remove(t.Context())
				must(t, err)
			}
			if got := firsts(t, b); got != c.want {
				t.Errorf("the streams begin with\n%s want\n%s", got, c.want)
			}
			if losses, err := b.Losses(t.Context()); err != nil || len(losses) > 0 {
				t.Errorf("losses %v, %v", losses, err)
			}
		})
	}
}

// The broker is down for longer than the retention, with unfinished messages. They are delivered after it has started.
func TestUnfinishedMessagesOutliveTheirRetention(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := bustest.Start(t, server.Options{StoreDir: dir})
	o := bustest.Options(srv)
	o.Retention = topology.Retention{Delivery: retained, Event: retained, Outcome: retained, Closed: retained}
	o.AckWait = time.Second
	setUp(t, o)
	b, err := bus.Connect(t.Context(), o)
	must(t, err)
	history(t, b, 1, 3)
	for k := range stageOf {
		finish(t, b, k, 2)
	}
	b.Close()
	bustest.Stop(srv)
	time.Sleep(2 * retained)

	o.InProcess = bustest.Options(bustest.Start(t, server.Options{StoreDir: dir})).InProcess
	b, err = bus.Connect(t.Context(), o)
	must(t, err)
	t.Cleanup(b.Close)
	r := b.NewRemover()
	for range 3 {
		_, err = r.Remove(t.Context())
		must(t, err)
	}
	for k, stage := range stageOf {
		var handled atomic.Int64
		consume(t, b, bus.Consumer{Kind: k, Name: stage, Handle: func(_ context.Context, m bus.Message) error {
			handled.Store(m.Subject.Request)
			return nil
		}}, func() bool { return unfinished(t, b, k, stage) == 0 })
		if handled.Load() != 2 {
			t.Errorf("%s: the message of request 2 was not delivered", k)
		}
	}
	time.Sleep(consumerSettle)
	removed := map[bus.Kind]uint64{}
	for range 3 {
		n, err := r.Remove(t.Context())
		must(t, err)
		for k := range n {
			removed[k] += n[k]
		}
	}
	if want := (map[bus.Kind]uint64{bus.Delivery: 2, bus.Event: 3, bus.Outcome: 3, bus.Closed: 3}); !maps.Equal(removed, want) {
		t.Errorf("after all were finished, removed %v, want %v", removed, want)
	}
}

// consumerSettle is how long a new consumer counts as unfinished.
const consumerSettle = 2 * time.Second

// A message that is throttled until its retention ends becomes a dead letter. It would keep all later messages from being removed.
func TestThrottledMessageIsGivenUpAtEndOfRetention(t *testing.T) {
	t.Parallel()
	b := connectManaged(t, shortRetention(t, t.TempDir()))
	history(t, b, 1, 1)
	began := time.Now()
	var gaveUp atomic.Pointer[error]
	consume(t, b, bus.Consumer{
		Kind: bus.Event, Name: "export", RetryFor: time.Hour,
		Handle: func(context.Context, bus.Message) error { return fault.Wait(50*time.Millisecond, errors.New("quota")) },
		GiveUp: func(_ context.Context, _ bus.Message, err error) error { gaveUp.CompareAndSwap(nil, &err); return nil },
	}, func() bool { return gaveUp.Load() != nil })
	if early := time.Since(began); early < retained-time.Second {
		t.Errorf("it was given up after %v", early)
	}
}
