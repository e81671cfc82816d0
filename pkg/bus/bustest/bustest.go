// Package bustest starts NATS servers for tests, and holds the tests of pkg/bus, pkg/state and pkg/request that need one.
// They are here so that the packages that they test do not import nats-server.
package bustest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
)

// VerifyNoLeaks runs the tests of a package and fails if a goroutine is left over. It ignores goroutines that nats-server
// itself leaves: those of a node shut down while opening its streams, and those of the staging store of an abandoned
// atomic batch, which lives ten seconds longer (server/jetstream_batching.go, cleanup).
func VerifyNoLeaks(m *testing.M) {
	const server = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(server+".(*msgBlock).flushLoop"),
		goleak.IgnoreAnyFunction(server+".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction(server+"/ats.Register.func1"))
}

// Connect starts a server without a port and connects to it. Both end with the test.
func Connect(t testing.TB) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(context.Background(), Options(Start(t, server.Options{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Options connects a client in this process to ns. It logs nothing.
func Options(ns *server.Server) bus.Options {
	return bus.Options{InProcess: nats.InProcessServer(ns), Name: "test", Log: zap.NewNop()}
}

// Start starts a server and stops it when the test ends. JetStream is enabled. Zero fields of o have defaults: StoreDir a
// temporary directory, MaxPayload the 8 MiB that ERP requests need, Port no listener. A negative Port picks a free port
// on 127.0.0.1.
func Start(t testing.TB, o server.Options) *server.Server {
	t.Helper()
	o.JetStream, o.NoSigs, o.NoLog = true, true, true
	if o.ServerName == "" {
		o.ServerName = "test"
	}
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	if o.MaxPayload == 0 {
		o.MaxPayload = 8 << 20
	}
	o.DontListen = o.Port == 0
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	ns, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { Stop(ns) })
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start within 10 s")
	}
	return ns
}

// Stop stops a server and waits until it has ended. It may be called more than once.
func Stop(ns *server.Server) {
	ns.Shutdown()
	ns.WaitForShutdown()
}

// Flip flips a bit of a stream's first block, at a fraction (0 to 1) of the block, in the store of a server that is stopped.
// If crashed, it also removes the stream's saved state, as if the server had not written it, so that the server reads the
// block when it starts.
func Flip(t testing.TB, store, stream string, fraction float64, crashed bool) {
	t.Helper()
	msgs := filepath.Join(store, "jetstream", "$G", "streams", stream, "msgs")
	block := filepath.Join(msgs, "1.blk")
	raw, err := os.ReadFile(block) //nolint:gosec // in the test's own folder
	if err != nil {
		t.Fatal(err)
	}
	raw[int(float64(len(raw))*fraction)] ^= 0x40
	if err := os.WriteFile(block, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if crashed {
		if err := os.Remove(filepath.Join(msgs, "index.db")); err != nil {
			t.Fatal(err)
		}
	}
}
