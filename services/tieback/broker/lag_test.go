package broker_test

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/lag"
)

// shown runs the exporter of lag for a test, and reads what it shows as "name{label}": value.
type shown struct {
	*testing.T
	registry *prometheus.Registry
}

func export(t *testing.T, b *bus.Bus) shown {
	t.Helper()
	s := shown{t, prometheus.NewRegistry()}
	e, err := lag.New(lag.Deps{Log: zap.NewNop(), Every: 20 * time.Millisecond}, s.registry)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- e.Run(ctx, b) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s shown) values() map[string]float64 {
	s.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "{" + l.GetValue() + "}"
			}
			all[name] = m.GetGauge().GetValue()
		}
	}
	return all
}

// until waits until what is shown is as wanted.
func (s shown) until(what string, as func(map[string]float64) bool) map[string]float64 {
	s.Helper()
	for range 1000 {
		if v := s.values(); as(v) {
			return v
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.Fatalf("%s: not shown within 10 s; shown is %v", what, s.values())
	return nil
}

func has(name string, want float64) func(map[string]float64) bool {
	return func(v map[string]float64) bool { got, there := v[name]; return there && got == want }
}

// events publishes one event of each type, in this order; requests count from first.
func events(t *testing.T, b *bus.Bus, first int64, types ...string) {
	t.Helper()
	for i, name := range types {
		r := first + int64(i)
		err := b.PublishOnce(t.Context(), bus.For(bus.Event, name, 7, r), &tiebackv1.Event{CompanyId: 7, ErpRequestId: r, Type: name})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func durable(t *testing.T, b *bus.Bus, name string) jetstream.Consumer {
	t.Helper()
	for _, d := range bus.Durables() {
		if d.Name == name {
			c, err := b.JetStream().CreateOrUpdateConsumer(t.Context(), d.Kind.Stream(), jetstream.ConsumerConfig{
				Durable: name, FilterSubject: d.Filter, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1, AckWait: time.Hour,
			})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	t.Fatalf("no consumer %s", name)
	return nil
}

func take(t *testing.T, c jetstream.Consumer, n int) []jetstream.Msg {
	t.Helper()
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Collect(func(yield func(jetstream.Msg) bool) {
		for m := range batch.Messages() {
			if !yield(m) {
				return
			}
		}
	})
	if len(all) != n {
		t.Fatalf("got %d messages, want %d", len(all), n)
	}
	return all
}

func ack(t *testing.T, m jetstream.Msg) {
	t.Helper()
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
}

const exportLag, exportAge = "tieback_consumer_lag_messages{export}", "tieback_consumer_oldest_seconds{export}"

// What follows the ack floor in the stream may be another category's, and much older than
// anything that this consumer wants.
func TestTheOldestMessageIsOneThatTheConsumerWants(t *testing.T) {
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
	if got := v[exportAge]; got > 1.2 {
		t.Errorf("the oldest export is %v s old, want that of the second: under 1.2 s", got)
	}
	if got := v["tieback_consumer_oldest_seconds{sync}"]; got < 1.5 {
		t.Errorf("the oldest sync is %v s old, want 1.5 s at least", got)
	}
}

// Whatever is acked above it, a message that is not stays the oldest.
func TestAcksOutOfOrderHideNoOldMessage(t *testing.T) {
	b := connect(t)
	c := durable(t, b, "export")
	s := export(t, b)
	events(t, b, 1, "create_vendor", "create_vendor")
	old := take(t, c, 2)
	time.Sleep(1200 * time.Millisecond)
	events(t, b, 3, "create_vendor", "create_vendor")
	young := take(t, c, 2)
	ack(t, old[1])
	ack(t, young[1])
	v := s.until("two are done", has(exportLag, 2))
	if got := v[exportAge]; got < 1.2 {
		t.Errorf("the oldest is %v s old, want 1.2 s at least", got)
	}
	ack(t, old[0])
	v = s.until("the old ones are done", has(exportLag, 1))
	if got := v[exportAge]; got == 0 || got > 1.1 {
		t.Errorf("the oldest is %v s old, want that of the young one: under 1.1 s", got)
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

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func listen(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{ServerName: "t", JetStream: true, StoreDir: dir, Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker did not start")
	}
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	return srv
}

// What is labelled is a fixed number of names, and the names are Prometheus' way.
func TestWhatTheExporterShowsIsBoundedAndWellNamed(t *testing.T) {
	b := connect(t)
	var consumers []string
	for _, d := range bus.Durables() {
		durable(t, b, d.Name)
		consumers = append(consumers, d.Name)
	}
	events(t, b, 1, "create_vendor", "sync_vendors", "reset_job")
	s := export(t, b)
	v := s.until("every consumer", has("tieback_consumer_lag_messages{status-reporter}", 0))
	v = s.until("the letters", has("tieback_dead_letters_open{unknown}", 0))
	labels := map[string]int{}
	for name := range v {
		family, _, _ := strings.Cut(name, "{")
		labels[family]++
	}
	want := map[string]int{
		"tieback_broker_up": 1, "tieback_consumer_lag_messages": len(consumers), "tieback_consumer_oldest_seconds": len(consumers),
		"tieback_stream_messages": 7, "tieback_stream_bytes": 7, "tieback_dead_letters_open": 6,
	}
	if !maps.Equal(labels, want) {
		t.Errorf("series %v, want %v", labels, want)
	}
	if v["tieback_stream_messages{TIEBACK_EVENT}"] != 3 || v["tieback_stream_bytes{TIEBACK_EVENT}"] == 0 {
		t.Errorf("the stream of events has %v messages", v["tieback_stream_messages{TIEBACK_EVENT}"])
	}
	if problems, err := testutil.GatherAndLint(s.registry); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// A consumer that was never made has no numbers, and is no trouble of the broker's.
func TestAConsumerThatIsNotThereHasNoNumbers(t *testing.T) {
	s := export(t, connect(t))
	v := s.until("the broker is there", has("tieback_broker_up", 1))
	if _, there := v[exportLag]; there {
		t.Errorf("shown is %v", v)
	}
}
