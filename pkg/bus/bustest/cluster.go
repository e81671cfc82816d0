package bustest

import (
	"fmt"
	"net"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Nodes returns the options of a cluster of three nodes. StartNodes may start them more than once: their stores stay.
func Nodes(t testing.TB) []*server.Options {
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
		_ = l.Close() // free the port for the node
	}
	var nodes []*server.Options
	for i, port := range ports {
		o := &server.Options{
			ServerName: fmt.Sprint("n", i), JetStream: true, StoreDir: t.TempDir(), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port},
		}
		for _, r := range routes {
			o.Routes = append(o.Routes, server.RoutesFromStr(r)...)
		}
		nodes = append(nodes, o)
	}
	return nodes
}

// StartNodes starts nodes, which stop when the test ends. It does not wait until they have a leader.
func StartNodes(t testing.TB, nodes []*server.Options) []*server.Server {
	t.Helper()
	var started []*server.Server
	for _, o := range nodes {
		ns, err := server.NewServer(o.Clone())
		if err != nil {
			t.Fatal(err)
		}
		ns.Start()
		t.Cleanup(func() { Stop(ns) })
		started = append(started, ns)
	}
	return started
}
