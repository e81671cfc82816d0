package bustest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/order"
	"github.com/tieback/tieback/pkg/state"
)

// cluster starts three nodes and returns the first.
func cluster(t *testing.T) *server.Server {
	t.Helper()
	return bustest.StartNodes(t, bustest.Nodes(t))[0]
}

// A command of tieback in a shell without TIEBACK_NATS_REPLICAS must not lower the number of replicas, nor let replicas other
// than the leader answer reads.
func TestReplicasAreNeverLowered(t *testing.T) {
	t.Parallel()
	ns := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, replicas := range []int{3, 0, 1} {
		b, err := bus.Connect(ctx, bus.Options{InProcess: nats.InProcessServer(ns), Name: "test", Replicas: replicas, Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.OpenQuota(ctx, replicas); err != nil {
			t.Fatal(err)
		}
		for s := range b.JetStream().ListStreams(ctx).Info() {
			if s.Config.Replicas != 3 {
				t.Errorf("after a connection that wants %d: %s has %d replicas", replicas, s.Config.Name, s.Config.Replicas)
			}
			if bucket := s.Config.Name[:3] == "KV_"; bucket == s.Config.AllowDirect {
				t.Errorf("%s lets any replica answer reads: %v", s.Config.Name, s.Config.AllowDirect)
			}
		}
		b.Close()
	}
}

// If two writers publish on one subject of a cluster concurrently, one succeeds and the other gets ErrDuplicate.
func TestConcurrentDuplicateInCluster(t *testing.T) {
	t.Parallel()
	ns := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b, err := bus.Connect(ctx, bus.Options{InProcess: nats.InProcessServer(ns), Name: "test", Replicas: 3, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	const subjects, copies = 50, 4
	results := make(chan error, subjects*copies)
	for i := range subjects * copies {
		go func() { results <- b.Publisher(bus.Delivery).Publish(ctx, delivery(int64(i%subjects+1))) }()
	}
	stored := 0
	for range subjects * copies {
		switch err := <-results; err {
		case nil:
			stored++
		case bus.ErrDuplicate:
		default:
			t.Fatalf("%v, want nil or ErrDuplicate", err)
		}
	}
	if stored != subjects {
		t.Errorf("%d were stored, want %d", stored, subjects)
	}
}

// After the number of replicas is raised, only the leader answers reads. A running process must adapt without a restart.
func TestReplicasAreRaisedWhileProcessRuns(t *testing.T) {
	t.Parallel()
	ns := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	open := func(replicas int) *bus.Bus {
		t.Helper()
		b, err := bus.Connect(ctx, bus.Options{InProcess: nats.InProcessServer(ns), Name: "test", Replicas: replicas, Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	running := open(1)
	if err := state.Of(running).NextGeneration(ctx, 7, "VENDOR", 35, by(8)); err != nil {
		t.Fatal(err)
	}
	open(3)
	var generation order.Key
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) { // a new leader is elected in the meantime
		try, cancel := context.WithTimeout(ctx, time.Second)
		generation, err = state.Of(running).Generation(try, 7, "VENDOR", 35)
		cancel()
		if err == nil {
			break
		}
	}
	if err != nil || generation != by(8) {
		t.Errorf("the running process reads generation %s, %v; want %s", generation, err, by(8))
	}
}

// After the number of replicas is raised, a process that may not create the quota bucket continues to use it without a restart.
func TestQuotaIsReadAfterReplicasAreRaised(t *testing.T) {
	t.Parallel()
	o := bustest.Options(bustest.Start(t, server.Options{}))
	o.TopologyManaged = true
	if err := bus.SetUp(t.Context(), o, func(string, string) {}); err != nil {
		t.Fatal(err)
	}
	b, err := bus.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	q, err := b.OpenQuota(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := q.Swap(t.Context(), "7", []byte("known"), 0); err != nil || !ok {
		t.Fatal(ok, err)
	}
	s, err := b.JetStream().Stream(t.Context(), "KV_tieback-quota")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.AllowDirect = false
	if _, err := b.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if raw, _, err := q.Read(t.Context(), "7"); err != nil || string(raw) != "known" {
		t.Errorf("%q, %v", raw, err)
	}
}

// If all nodes of a cluster are stopped, the quota bucket loses its values, but still exists afterwards: a process that may not
// create it continues with an empty one.
func TestQuotaBucketSurvivesRestartOfCluster(t *testing.T) {
	t.Parallel()
	nodes := bustest.Nodes(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	running := bustest.StartNodes(t, nodes)
	o := bus.Options{InProcess: nats.InProcessServer(running[0]), Name: "test", Replicas: 3, Log: zap.NewNop()}
	setUp(t, o)
	before := connectManaged(t, o)
	if _, ok, err := openQuota(t, before).Swap(ctx, "7", []byte("x"), 0); !ok || err != nil {
		t.Fatalf("the first swap: %v, %v", ok, err)
	}
	before.Close()
	for _, ns := range running {
		bustest.Stop(ns)
	}
	o.InProcess = nats.InProcessServer(bustest.StartNodes(t, nodes)[0])
	q := openQuota(t, connectManaged(t, o))
	ok, err := false, ctx.Err()
	for !ok && ctx.Err() == nil { // a leader is elected in the meantime
		var revision uint64
		if _, revision, err = q.Read(ctx, "7"); err == nil {
			_, ok, err = q.Swap(ctx, "7", []byte("y"), revision)
		}
	}
	if !ok {
		t.Errorf("a swap after all nodes were restarted: %v, %v", ok, err)
	}
}

// A client leaves a node in lame duck mode at once. If it stayed until the node closes the connection, a message could be lost
// with the connection, and would be redelivered only after AckWait.
func TestClientLeavesNodeInLameDuckMode(t *testing.T) {
	t.Parallel()
	nodes := bustest.Nodes(t)
	for _, o := range nodes {
		o.LameDuckGracePeriod, o.LameDuckDuration = 30*time.Second, time.Minute
	}
	servers := bustest.StartNodes(t, nodes)
	var urls []string
	for _, ns := range servers {
		urls = append(urls, ns.ClientURL())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, err := bus.Connect(ctx, bus.Options{URL: strings.Join(urls, ","), Name: "test", Replicas: 3, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	nc := b.JetStream().Conn()
	was := nc.ConnectedServerName()
	for i, o := range nodes {
		if o.ServerName == was {
			go servers[i].LameDuckShutdown()
		}
	}
	for end := time.Now().Add(10 * time.Second); nc.ConnectedServerName() == was || !nc.IsConnected(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still connected to %s, or not connected, 10 s after it announced its shutdown", was)
		}
	}
}
