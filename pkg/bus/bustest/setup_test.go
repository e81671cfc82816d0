package bustest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/state"
)

// created is the number of streams and durable consumers that SetUp creates.
var created = len(bus.Kinds) + 3 + len(topology.Durables())

// setUp calls bus.SetUp, as `provisioner` does. It returns the result for each stream and consumer by its name.
func setUp(t *testing.T, o bus.Options) map[string]string {
	t.Helper()
	results := map[string]string{}
	if err := bus.SetUp(t.Context(), o, func(what, result string) { results[what] = result }); err != nil {
		t.Fatal(err)
	}
	if len(results) != created {
		t.Errorf("%d streams and consumers were reported, want %d: %v", len(results), created, results)
	}
	return results
}

// connectManaged connects as a service that may create nothing.
func connectManaged(t *testing.T, o bus.Options) *bus.Bus {
	t.Helper()
	o.TopologyManaged = true
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b, err := bus.Connect(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// count returns how many streams and consumers have a result.
func count(results map[string]string, result string) int {
	n := 0
	for _, r := range results {
		if r == result {
			n++
		}
	}
	return n
}

// A second SetUp changes nothing. After the configuration was changed by hand, SetUp reverts it and names the changed settings.
// Messages are kept.
func TestSetUpIsIdempotent(t *testing.T) {
	t.Parallel()
	o := bustest.Options(bustest.Start(t, server.Options{}))
	if results := setUp(t, o); count(results, "created") != created {
		t.Errorf("the first time: %v", results)
	}
	b := connectManaged(t, o)
	if err := b.Publisher(bus.Delivery).Publish(t.Context(), delivery(1)); err != nil {
		t.Fatal(err)
	}
	if results := setUp(t, o); count(results, "unchanged") != created {
		t.Errorf("the second time: %v", results)
	}
	s, err := b.JetStream().Stream(t.Context(), bus.Delivery.Stream())
	if err != nil {
		t.Fatal(err)
	}
	streamConfig := s.CachedInfo().Config
	streamConfig.MaxAge = time.Hour
	if _, err := b.JetStream().UpdateStream(t.Context(), streamConfig); err != nil {
		t.Fatal(err)
	}
	c, err := s.Consumer(t.Context(), "fetcher")
	if err != nil {
		t.Fatal(err)
	}
	consumerConfig := c.CachedInfo().Config
	consumerConfig.AckWait = time.Hour
	if _, err := s.UpdateConsumer(t.Context(), consumerConfig); err != nil {
		t.Fatal(err)
	}
	results := setUp(t, o)
	if stream, consumer := results["stream TIEBACK_DELIVERY"], results["consumer fetcher of TIEBACK_DELIVERY"]; stream != "changed: max_age" || consumer != "changed: ack_wait" || count(results, "unchanged") != created-2 {
		t.Errorf("after a stream and a consumer were changed: %v", results)
	}
	if has, err := b.Has(t.Context(), bus.For(bus.Delivery, "", 7, 1)); !has || err != nil {
		t.Errorf("the message exists: %v, %v", has, err)
	}
}

// With a managed topology, a service creates no missing stream and no missing consumer. Its error names what it waits for.
func TestManagedTopologyCreatesNothing(t *testing.T) {
	t.Parallel()
	o := bustest.Options(bustest.Start(t, server.Options{}))
	o.TopologyManaged = true
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := bus.Connect(short, o)
	if err == nil || !strings.Contains(err.Error(), "stream TIEBACK_DELIVERY") || !strings.Contains(err.Error(), "`provisioner`") {
		t.Fatalf("without streams: %v", err)
	}
	nc, err := nats.Connect("", o.InProcess)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.StreamNames(t.Context()).Name() {
		t.Errorf("created %s", name)
	}
	o.TopologyManaged = false
	setUp(t, o)
	b := connectManaged(t, o)
	if err := js.DeleteConsumer(t.Context(), bus.Outcome.Stream(), "status-reporter"); err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	err = b.Consume(short, bus.Consumer{Kind: bus.Outcome, Name: "status-reporter", Handle: func(context.Context, bus.Message) error { return nil }})
	if err == nil || !strings.Contains(err.Error(), "consumer status-reporter") {
		t.Errorf("without its consumer: %v", err)
	}
	if _, err := js.Consumer(t.Context(), bus.Outcome.Stream(), "status-reporter"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("looked up its consumer: %v, want %v", err, jetstream.ErrConsumerNotFound)
	}
}

// The quota bucket survives a restart of the broker. A bucket of an older version, in memory, is created again.
func TestQuotaBucketSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ns := bustest.Start(t, server.Options{StoreDir: dir})
	o := bustest.Options(ns)
	nc, err := nats.Connect("", o.InProcess)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "KV_tieback-quota", Subjects: []string{"$KV.tieback-quota.>"}, Storage: jetstream.MemoryStorage, MaxMsgsPerSubject: 1, DenyDelete: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	setUp(t, o)
	before := connectManaged(t, o)
	if _, ok, err := openQuota(t, before).Swap(t.Context(), "7", []byte("x"), 0); !ok || err != nil {
		t.Fatalf("the first swap: %v, %v", ok, err)
	}
	before.Close()
	bustest.Stop(ns)
	o = bustest.Options(bustest.Start(t, server.Options{StoreDir: dir}))
	q := openQuota(t, connectManaged(t, o))
	value, revision, err := q.Read(t.Context(), "7")
	if string(value) != "x" || err != nil {
		t.Errorf("after the restart: %q, %v", value, err)
	}
	if _, ok, err := q.Swap(t.Context(), "7", []byte("y"), revision); !ok || err != nil {
		t.Errorf("a swap after the restart: %v, %v", ok, err)
	}
}

// A service that may write one key can't empty the bucket with a rollup. The bucket of an older version allowed it.
func TestStateBucketRefusesRollup(t *testing.T) {
	t.Parallel()
	o := bustest.Options(bustest.Start(t, server.Options{}))
	setUp(t, o)
	b := connectManaged(t, o)
	if err := state.Of(b).NextGeneration(t.Context(), 7, "VENDOR", 35, by(8)); err != nil {
		t.Fatal(err)
	}
	s, err := b.JetStream().Stream(t.Context(), "KV_tieback-state")
	if err != nil {
		t.Fatal(err)
	}
	older := s.CachedInfo().Config
	older.AllowRollup, older.SubjectDeleteMarkerTTL = true, time.Hour
	if _, err := b.JetStream().UpdateStream(t.Context(), older); err != nil {
		t.Fatal(err)
	}
	if result := setUp(t, o)["stream KV_tieback-state"]; !strings.Contains(result, "allow_rollup_hdrs") {
		t.Errorf("the older bucket: %s", result)
	}
	m := &nats.Msg{Subject: "$KV.tieback-state.cursor.7.VENDOR", Header: nats.Header{}}
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupAll)
	if _, err := b.JetStream().PublishMsg(t.Context(), m); err == nil {
		t.Error("a rollup was accepted")
	}
	if generation, err := state.Of(b).Generation(t.Context(), 7, "VENDOR", 35); generation != by(8) || err != nil {
		t.Errorf("the generation is %s, %v", generation, err)
	}
}
