package broker_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
)

// cluster starts a broker of three nodes and gives the first.
func cluster(t *testing.T) *server.Server {
	t.Helper()
	var routes []string
	var ports []int
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[len(ports)-1]))
		_ = l.Close() // for the node to take
	}
	var nodes []*server.Server
	for i, port := range ports {
		o := &server.Options{
			ServerName: fmt.Sprint("n", i), JetStream: true, StoreDir: t.TempDir(), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port},
		}
		for _, r := range routes {
			o.Routes = append(o.Routes, server.RoutesFromStr(r)...)
		}
		ns, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		ns.Start()
		t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
		nodes = append(nodes, ns)
	}
	return nodes[0]
}

// A command of tieback, run in a shell that says nothing of replicas, must leave production's three,
// and the reads of the leader with them.
func TestReplicasAreNeverLowered(t *testing.T) {
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
				t.Errorf("%s lets any replica answer: %v", s.Config.Name, s.Config.AllowDirect)
			}
		}
		b.Close()
	}
}

// Of two writers of one subject in a cluster one wins and the other is told, however close they come.
func TestACopyUnderWayInAClusterIsADuplicate(t *testing.T) {
	ns := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, err := bus.Connect(ctx, bus.Options{InProcess: nats.InProcessServer(ns), Name: "test", Replicas: 3, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	const subjects, copies = 50, 4
	won := make(chan error, subjects*copies)
	for i := range subjects * copies {
		go func() { won <- b.Publisher(bus.Delivery).Publish(ctx, delivery(int64(i%subjects+1))) }()
	}
	first := 0
	for range subjects * copies {
		switch err := <-won; err {
		case nil:
			first++
		case bus.ErrDuplicate:
		default:
			t.Fatalf("%v: want it taken, or called a duplicate", err)
		}
	}
	if first != subjects {
		t.Errorf("%d were taken, want %d", first, subjects)
	}
}
