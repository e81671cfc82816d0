package broker_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
)

const exportLag, exportAge = "tieback_consumer_lag_messages{export}", "tieback_consumer_oldest_seconds{export}"

// What follows the ack floor in the stream may be another category's, and much older than
// anything that this consumer wants.
func TestTheOldestMessageIsOneThatTheConsumerWants(t *testing.T) {
	t.Parallel()
	b := connect(t)
	c := durable(t, b, "export")
	durable(t, b, "sync")
	s := export(t, b)
	s.until("nothing to do", func(v map[string]float64) bool { return has(exportLag, 0)(v) && has(exportAge, 0)(v) })
	events(t, b, 1, "create_vendor", "sync_vendors")
	time.Sleep(1500 * time.Millisecond)
	events(t, b, 3, "create_vendor", "create_vendor")
	s.until("all wait", has(exportLag, 3))
	ack(t, take(t, c, 1)[0])
	v := s.until("one is done", has(exportLag, 2))
	if got, since := v[exportAge], age(t, b, 3); got == 0 || got > since {
		t.Errorf("the oldest export is %v s old, want that of the second: %v s by now", got, since)
	}
	if got := v["tieback_consumer_oldest_seconds{sync}"]; got < 1.5 {
		t.Errorf("the oldest sync is %v s old, want 1.5 s at least", got)
	}
}

// Whatever is acked above it, a message that is not stays the oldest.
func TestAcksOutOfOrderHideNoOldMessage(t *testing.T) {
	t.Parallel()
	b := connect(t)
	c := durable(t, b, "export")
	s := export(t, b)
	events(t, b, 1, "create_vendor", "create_vendor")
	old := take(t, c, 2)
	time.Sleep(1200 * time.Millisecond)
	events(t, b, 3, "create_vendor", "create_vendor")
	young := take(t, c, 2)
	s.until("all are out", has(exportLag, 4))
	ack(t, old[1])
	ack(t, young[1])
	v := s.until("two are done", has(exportLag, 2))
	if got := v[exportAge]; got < 1.2 {
		t.Errorf("the oldest is %v s old, want 1.2 s at least", got)
	}
	ack(t, old[0])
	v = s.until("the old ones are done", has(exportLag, 1))
	if got, since := v[exportAge], age(t, b, 3); got == 0 || got > since {
		t.Errorf("the oldest is %v s old, want that of the young one: %v s by now", got, since)
	}
	ack(t, young[0])
	s.until("all done", func(v map[string]float64) bool { return has(exportLag, 0)(v) && has(exportAge, 0)(v) })
}

// A number nobody asked the broker for must not stay on the screen; back again, all is shown again.
func TestABrokerThatIsAwayLeavesNoOldNumbers(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	srv := listen(t, dir, port)
	b, err := bus.Connect(t.Context(), bus.Options{URL: srv.ClientURL(), Name: "test", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	durable(t, b, "export")
	events(t, b, 1, "create_vendor")
	s := export(t, b)
	whole := s.until("all is shown", func(v map[string]float64) bool {
		return has(exportLag, 1)(v) && has("tieback_broker_up", 1)(v) && has("tieback_dead_letters_open{erp}", 0)(v)
	})
	srv.Shutdown()
	srv.WaitForShutdown()
	s.until("only that the broker is away", func(v map[string]float64) bool {
		return maps.Equal(v, map[string]float64{"tieback_broker_up": 0})
	})
	listen(t, dir, port)
	s.until("all again", func(v map[string]float64) bool {
		return has(exportLag, 1)(v) && has("tieback_broker_up", 1)(v) && len(v) == len(whole)
	})
}

// What is labelled is a fixed number of names, and the names are Prometheus' way.
func TestWhatTheExporterShowsIsBoundedAndWellNamed(t *testing.T) {
	t.Parallel()
	b := connect(t)
	var consumers []string
	for _, d := range bus.Durables() {
		durable(t, b, d.Name)
		consumers = append(consumers, d.Name)
	}
	events(t, b, 1, "create_vendor", "sync_vendors", "reset_job")
	s := export(t, b)
	v := s.until("every consumer and the letters", func(v map[string]float64) bool {
		return has("tieback_consumer_lag_messages{status-reporter}", 0)(v) && has("tieback_stream_lost_messages{TIEBACK_DEAD}", 0)(v) && has("tieback_dead_letters_open{unknown}", 0)(v)
	})
	labels := map[string]int{}
	for name := range v {
		family, _, _ := strings.Cut(name, "{")
		labels[family]++
	}
	want := map[string]int{
		"tieback_broker_up": 1, "tieback_consumer_lag_messages": len(consumers), "tieback_consumer_oldest_seconds": len(consumers),
		"tieback_stream_messages": 7, "tieback_stream_bytes": 7, "tieback_stream_replicas_offline": 7, "tieback_stream_lost_messages": 7,
		"tieback_dead_letters_open":  6,
		"tieback_stream_bytes_limit": 1, "tieback_broker_bytes": 1, // without a limit of the account's
	}
	if !maps.Equal(labels, want) {
		t.Errorf("series %v, want %v", labels, want)
	}
	if v["tieback_stream_messages{TIEBACK_EVENT}"] != 3 || v["tieback_stream_bytes{TIEBACK_EVENT}"] == 0 {
		t.Errorf("the stream of events has %v messages", v["tieback_stream_messages{TIEBACK_EVENT}"])
	}
	if v["tieback_stream_bytes_limit"] != 1<<30 || v["tieback_broker_bytes"] == 0 || v["tieback_stream_replicas_offline{TIEBACK_EVENT}"] != 0 {
		t.Errorf("shown is %v", v)
	}
	if problems, err := testutil.GatherAndLint(s.registry); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// A consumer that was never made has no numbers, and is no trouble of the broker's.
func TestAConsumerThatIsNotThereHasNoNumbers(t *testing.T) {
	t.Parallel()
	s := export(t, connect(t))
	v := s.until("the broker is there", has("tieback_broker_up", 1))
	if _, there := v[exportLag]; there {
		t.Errorf("shown is %v", v)
	}
}
