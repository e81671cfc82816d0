package lagexporter_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/bus/topology"
)

const exportLag, exportAge = "tieback_consumer_lag_messages{export}", "tieback_consumer_oldest_seconds{export}"

// The message after the ack floor may be another category's, and older than any message of this consumer.
func TestOldestMessageIsOfConsumer(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
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
		t.Errorf("the oldest export is %v s old, want at most %v s, the age of the second", got, since)
	}
	if got := v["tieback_consumer_oldest_seconds{sync}"]; got < 1.5 {
		t.Errorf("the oldest sync is %v s old, want at least 1.5 s", got)
	}
}

// A message that is not acked stays the oldest, whatever is acked after it.
func TestAcksOutOfOrder(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
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
		t.Errorf("the oldest is %v s old, want at least 1.2 s", got)
	}
	ack(t, old[0])
	v = s.until("the old ones are done", has(exportLag, 1))
	if got, since := v[exportAge], age(t, b, 3); got == 0 || got > since {
		t.Errorf("the oldest is %v s old, want at most %v s, the age of the young one", got, since)
	}
	ack(t, young[0])
	s.until("all done", func(v map[string]float64) bool { return has(exportLag, 0)(v) && has(exportAge, 0)(v) })
}

// The time of the last complete backup is exported as soon as it is recorded; before that it is 0.
func TestLastBackup(t *testing.T) {
	t.Parallel()
	url := bustest.Start(t, server.Options{StoreDir: t.TempDir(), Port: -1}).ClientURL()
	b, err := bus.Connect(t.Context(), bus.Options{URL: url, Name: "test", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s := export(t, b)
	const last = "tieback_backup_last_success_timestamp_seconds"
	s.until("no backup", has(last, 0))
	c, err := bus.ConnectCopier(bus.Options{URL: url, Name: "backup", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, began := range []int64{1700000000, 1700086400} {
		if err := c.RecordBackup(t.Context(), bus.Backup{ID: "x", Began: time.Unix(began, 0), Ended: time.Unix(began+60, 0)}); err != nil {
			t.Fatal(err)
		}
		s.until("a backup", has(last, float64(began)))
	}
}

// While the broker is unreachable, no old values are exported. When it returns, all are exported again.
func TestNoOldValuesWithoutBroker(t *testing.T) {
	o := server.Options{StoreDir: t.TempDir(), Port: -1}
	ns := bustest.Start(t, o)
	o.Port = ns.Addr().(*net.TCPAddr).Port
	b, err := bus.Connect(t.Context(), bus.Options{URL: ns.ClientURL(), Name: "test", Log: zap.NewNop()})
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
	bustest.Stop(ns)
	s.until("only that the broker is down", func(v map[string]float64) bool {
		return maps.Equal(v, map[string]float64{"tieback_broker_up": 0})
	})
	bustest.Start(t, o)
	s.until("all again", func(v map[string]float64) bool {
		return has(exportLag, 1)(v) && has("tieback_broker_up", 1)(v) && len(v) == len(whole)
	})
}

// The number of series is fixed, and their names follow the conventions of Prometheus.
func TestSeries(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	var consumers []string
	for _, d := range topology.Durables() {
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
		"tieback_broker_up": 1, "tieback_backup_last_success_timestamp_seconds": 1, "tieback_consumer_lag_messages": len(consumers), "tieback_consumer_oldest_seconds": len(consumers),
		"tieback_stream_messages": 7, "tieback_stream_bytes": 7, "tieback_stream_replicas_offline": 7, "tieback_stream_lost_messages": 7,
		"tieback_stream_oldest_seconds": 4, "tieback_stream_retention_seconds": 4, "tieback_broker_memory_bytes": 1,
		"tieback_dead_letters_open":  6,
		"tieback_stream_bytes_limit": 1, "tieback_broker_bytes": 1, // the account has no limit
	}
	if !maps.Equal(labels, want) {
		t.Errorf("series %v, want %v", labels, want)
	}
	if v["tieback_stream_messages{TIEBACK_EVENT}"] != 3 || v["tieback_stream_bytes{TIEBACK_EVENT}"] == 0 {
		t.Errorf("the stream of events has %v messages", v["tieback_stream_messages{TIEBACK_EVENT}"])
	}
	if v["tieback_stream_bytes_limit"] != 1<<30 || v["tieback_broker_bytes"] == 0 || v["tieback_stream_replicas_offline{TIEBACK_EVENT}"] != 0 {
		t.Errorf("values: %v", v)
	}
	if problems, err := testutil.GatherAndLint(s.registry); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// A consumer that does not exist has no values, and the broker is up.
func TestMissingConsumerHasNoValues(t *testing.T) {
	t.Parallel()
	s := export(t, bustest.Connect(t))
	v := s.until("the broker is there", has("tieback_broker_up", 1))
	if _, there := v[exportLag]; there {
		t.Errorf("values: %v", v)
	}
}

// Lost messages are exported: those that the server misses when it starts, and those that the exporter misses when it reads the
// dead letters.
func TestLossesAreExported(t *testing.T) {
	t.Parallel()
	for crashed, want := range map[bool]float64{true: 64, false: 1} {
		t.Run(fmt.Sprintf("crashed=%v", crashed), func(t *testing.T) {
			t.Parallel()
			const letters = 106
			dir := t.TempDir()
			run := func(use func(*bus.Bus)) {
				t.Helper()
				ns := bustest.Start(t, server.Options{StoreDir: dir})
				defer bustest.Stop(ns)
				b, err := bus.Connect(t.Context(), bustest.Options(ns))
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				use(b)
			}
			run(func(b *bus.Bus) {
				for n := range int64(letters) {
					deadLetter(t, b, n+1)
				}
				t.Run("whole", func(t *testing.T) {
					export(t, b).until("no loss", func(v map[string]float64) bool {
						return has("tieback_stream_lost_messages{TIEBACK_DEAD}", 0)(v) && v["tieback_dead_letters_open{tieback}"] == letters
					})
				})
			})
			bustest.Flip(t, dir, bus.Dead.Stream(), 0.4, crashed)
			run(func(b *bus.Bus) {
				t.Run("damaged", func(t *testing.T) {
					v := export(t, b).until("the loss", has("tieback_stream_lost_messages{TIEBACK_DEAD}", want))
					if v["tieback_stream_lost_messages{TIEBACK_EVENT}"] != 0 {
						t.Errorf("values: %v", v)
					}
				})
			})
		})
	}
}

// deadLetter publishes the event of a request and its dead letter, whose cause is tieback.
func deadLetter(t *testing.T, b *bus.Bus, request int64) {
	t.Helper()
	events(t, b, request, "create_vendor")
	m := bus.Message{Subject: bus.For(bus.Event, "create_vendor", 7, request), Stream: bus.Event.Stream(), Sequence: uint64(request), Data: []byte("x")}
	m.RawSubject = m.Subject.String()
	if err := b.DeadLetter(t.Context(), "export", m, errors.New("a mistake")); err != nil {
		t.Fatal(err)
	}
}

// A replica whose node has stopped is counted in a metric, and bus.LaggingReplicas returns the node's name.
func TestOfflineReplicaIsExported(t *testing.T) {
	t.Parallel()
	servers := bustest.StartNodes(t, bustest.Nodes(t))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := bustest.Options(servers[0])
	o.Replicas = 3
	b, err := bus.Connect(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s := export(t, b)
	const state = "tieback_stream_replicas_offline{KV_tieback-state}"
	s.until("all are there", has(state, 0))
	gone := servers[2].Name()
	bustest.Stop(servers[2])
	for deadline := time.Now().Add(40 * time.Second); !has(state, 1)(s.values()); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the replica is not counted: %v", s.values())
		}
	}
	stream, err := b.JetStream().Stream(ctx, "KV_tieback-state")
	if err != nil {
		t.Fatal(err)
	}
	if offline, _ := bus.LaggingReplicas(stream.CachedInfo().Cluster); !slices.Equal(offline, []string{gone}) {
		t.Errorf("offline are %v, want %s", offline, gone)
	}
	if differences := topology.StreamDifferences(stream.CachedInfo().Config, topology.Config{Replicas: o.Replicas, Retention: o.Retention}); differences != nil {
		t.Errorf("in a cluster %q", differences)
	}
}
