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

// everything is how many streams and durable consumers there are.
var everything = len(bus.Kinds) + 3 + len(topology.Durables())

// setUp does what `provisioner` does, and gives what was done by what it was done to.
func setUp(t *testing.T, o bus.Options) map[string]string {
	t.Helper()
	done := map[string]string{}
	if err := bus.SetUp(t.Context(), o, func(what, how string) { done[what] = how }); err != nil {
		t.Fatal(err)
	}
	if len(done) != everything {
		t.Errorf("told of %d streams and consumers, want %d: %v", len(done), everything, done)
	}
	return done
}

// connectMade connects as a service that may make nothing.
func connectMade(t *testing.T, o bus.Options) *bus.Bus {
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

func count(done map[string]string, how string) int {
	n := 0
	for _, h := range done {
		if h == how {
			n++
		}
	}
	return n
}

// What is there stays as it is; what somebody changed is put right and named; no message is touched.
func TestSetUpCanBeRunAgain(t *testing.T) {
	t.Parallel()
	o := bustest.Options(bustest.Start(t, server.Options{}))
	if done := setUp(t, o); count(done, "created") != everything {
		t.Errorf("the first time: %v", done)
	}
	b := connectMade(t, o)
	if err := b.Publisher(bus.Delivery).Publish(t.Context(), delivery(1)); err != nil {
		t.Fatal(err)
	}
	if done := setUp(t, o); count(done, "unchanged") != everything {
		t.Errorf("the second time: %v", done)
	}
	s, err := b.JetStream().Stream(t.Context(), bus.Delivery.Stream())
	if err != nil {
		t.Fatal(err)
	}
	other := s.CachedInfo().Config
	other.MaxAge = time.Hour
	if _, err := b.JetStream().UpdateStream(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	c, err := s.Consumer(t.Context(), "fetcher")
	if err != nil {
		t.Fatal(err)
	}
	slow := c.CachedInfo().Config
	slow.AckWait = time.Hour
	if _, err := s.UpdateConsumer(t.Context(), slow); err != nil {
		t.Fatal(err)
	}
	done := setUp(t, o)
	if stream, consumer := done["stream TIEBACK_DELIVERY"], done["consumer fetcher of TIEBACK_DELIVERY"]; stream != "changed: max_age" || consumer != "changed: ack_wait" || count(done, "unchanged") != everything-2 {
		t.Errorf("after somebody changed two: %v", done)
	}
	if has, err := b.Has(t.Context(), bus.For(bus.Delivery, "", 7, 1)); !has || err != nil {
		t.Errorf("the message is there: %v, %v", has, err)
	}
}

// Who finds nothing there makes nothing, and says what it waits for.
func TestWithMadeNothingIsMade(t *testing.T) {
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
		t.Errorf("made %s", name)
	}
	o.TopologyManaged = false
	setUp(t, o)
	b := connectMade(t, o)
	if err := js.DeleteConsumer(t.Context(), bus.Outcome.Stream(), "status-reporter"); err != nil {
		t.Fatal(err)
	}
	waits, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	err = b.Consume(waits, bus.Consumer{Kind: bus.Outcome, Name: "status-reporter", Handle: func(context.Context, bus.Message) error { return nil }})
	if err == nil || !strings.Contains(err.Error(), "consumer status-reporter") {
		t.Errorf("without its consumer: %v", err)
	}
	if _, err := js.Consumer(t.Context(), bus.Outcome.Stream(), "status-reporter"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("its consumer: %v", err)
	}
}

// A worker that works other subjects than the table says would leave some to nobody.
func TestAConsumerOfTheTableHasItsFilter(t *testing.T) {
	t.Parallel()
	err := bustest.Connect(t).Consume(t.Context(), bus.Consumer{Kind: bus.Event, Name: "export", Filter: "tb.event.sync.>"})
	if err == nil || !strings.Contains(err.Error(), "tb.event.export.>") {
		t.Errorf("got %v", err)
	}
}

// The quota bucket is there after a restart, or no call would be made until somebody runs `provisioner`. One
// of an older version, in memory, is made anew.
func TestTheQuotaBucketOutlivesARestart(t *testing.T) {
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
	before := connectMade(t, o)
	if _, ok, err := openQuota(t, before).Swap(t.Context(), "7", []byte("x"), 0); !ok || err != nil {
		t.Fatalf("the first swap: %v, %v", ok, err)
	}
	before.Close()
	bustest.Stop(ns)
	o = bustest.Options(bustest.Start(t, server.Options{StoreDir: dir}))
	q := openQuota(t, connectMade(t, o))
	value, revision, err := q.Read(t.Context(), "7")
	if string(value) != "x" || err != nil {
		t.Errorf("after the restart: %q, %v", value, err)
	}
	if _, ok, err := q.Swap(t.Context(), "7", []byte("y"), revision); !ok || err != nil {
		t.Errorf("a swap after the restart: %v, %v", ok, err)
	}
}

// Whoever may write one key can't empty the bucket by it. An older version's bucket let them.
func TestNoRollupEmptiesTheState(t *testing.T) {
	t.Parallel()
	o := bustest.Options(bustest.Start(t, server.Options{}))
	setUp(t, o)
	b := connectMade(t, o)
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
	done := setUp(t, o)
	if how := done["stream KV_tieback-state"]; !strings.Contains(how, "allow_rollup_hdrs") {
		t.Errorf("the older bucket: %s", how)
	}
	m := &nats.Msg{Subject: "$KV.tieback-state.cursor.7.VENDOR", Header: nats.Header{}}
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupAll)
	if _, err := b.JetStream().PublishMsg(t.Context(), m); err == nil {
		t.Error("a rollup is taken")
	}
	if life, err := state.Of(b).Generation(t.Context(), 7, "VENDOR", 35); life != by(8) || err != nil {
		t.Errorf("the life is %s, %v", life, err)
	}
}
