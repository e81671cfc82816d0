package bustest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/bus/topology"
)

// What SetUp creates has no differences, whatever defaults the broker adds. Each changed setting is named, until SetUp
// has reverted it.
func TestDifferencesAreNamed(t *testing.T) {
	srv := bustest.Start(t, server.Options{Port: -1})
	o := bus.Options{URL: srv.ClientURL(), Name: "provisioner", Replicas: 1, Log: zap.NewNop()}
	config := topology.Config{Replicas: 1}
	setUp := func() {
		if err := bus.SetUp(t.Context(), o, func(string, string) {}); err != nil {
			t.Fatal(err)
		}
	}
	setUp()
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream := func(name string) jetstream.StreamConfig {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().Config
	}
	consumer := func(d topology.Durable) jetstream.ConsumerConfig {
		c, err := js.Consumer(t.Context(), d.Kind.Stream(), d.Name)
		if err != nil {
			t.Fatal(err)
		}
		return c.CachedInfo().Config
	}
	same := func() {
		t.Helper()
		for _, name := range topology.StreamNames(true) {
			if differences := topology.StreamDifferences(stream(name), config); differences != nil {
				t.Errorf("%s %q", name, differences)
			}
		}
		for _, d := range topology.Durables() {
			if differences := d.Differences(consumer(d)); differences != nil {
				t.Errorf("%s %q", d.Name, differences)
			}
		}
	}
	same()
	for says, change := range map[string]func(*jetstream.StreamConfig){
		"has max_age 3.6e+12, should have none":       func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"has max_bytes 1e+06, should have none":       func(c *jetstream.StreamConfig) { c.MaxBytes = 1e6 },
		"has discard old, should have new":            func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"has no allow_direct, should have true":       func(c *jetstream.StreamConfig) { c.AllowDirect = false },
		"is of an older version":                      func(c *jetstream.StreamConfig) { c.Metadata = map[string]string{"tieback.retention": "120h0m0s"} },
		"has the retention 0s, should have 120h0m0s":  func(c *jetstream.StreamConfig) { delete(c.Metadata, "tieback.retention") },
		"has deny_purge true, should have none":       func(c *jetstream.StreamConfig) { c.DenyPurge = true },
		"has subjects [tb.event.> more], should have": func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "more") },
	} {
		cfg := stream("TIEBACK_EVENT")
		change(&cfg)
		if differences := topology.StreamDifferences(cfg, config); len(differences) != 1 || !strings.HasPrefix(differences[0], says) {
			t.Errorf("%q, want one difference: %q", differences, says)
		}
	}
	state := stream("KV_tieback-state")
	wrong := state
	wrong.AllowMsgTTL, wrong.Metadata = true, state.Metadata
	wrong.MaxMsgsPerSubject, wrong.Description = 5, "changed by hand"
	if _, err := js.UpdateStream(t.Context(), wrong); err != nil {
		t.Fatal(err)
	}
	if differences := topology.StreamDifferences(stream("KV_tieback-state"), config); len(differences) != 2 || !strings.HasPrefix(differences[1], "has max_msgs_per_subject 5") {
		t.Errorf("the bucket %q", differences)
	}
	if differences := topology.StreamDifferences(state, topology.Config{Replicas: 3}); !slices.Contains(differences, "has 1 replicas, TIEBACK_NATS_REPLICAS says 3") {
		t.Errorf("the bucket %q", differences)
	}
	d := topology.Durables()[1]
	cfg := consumer(d)
	cfg.MaxDeliver, cfg.AckWait = 3, time.Minute // AckWait does not count: each service sets its own
	if _, err := js.UpdateConsumer(t.Context(), d.Kind.Stream(), cfg); err != nil {
		t.Fatal(err)
	}
	if differences := d.Differences(consumer(d)); !slices.Equal(differences, []string{"has max_deliver 3, should have none"}) {
		t.Errorf("%s %q", d.Name, differences)
	}
	setUp()
	same()
}
