// Package broker is a JetStream server inside the process: files on disk, every write
// synced, no port.
package broker

import (
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is an embedded broker.
type Server struct{ ns *server.Server }

// Start starts a broker that keeps its streams in dir. Close it after its clients.
func Start(dir string) (*Server, error) {
	ns, err := server.NewServer(&server.Options{
		ServerName: "tieback", JetStream: true, StoreDir: dir, DontListen: true, NoSigs: true, SyncAlways: true, NoLog: true,
		MaxPayload: 8 << 20, // an ERP request of 1,000 lines is about 3 MB
	})
	if err != nil {
		return nil, err
	}
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		ns.Shutdown()
		return nil, errors.New("the embedded broker did not start within 10 s")
	}
	return &Server{ns}, nil
}

// InProcess is how a client in this process connects.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s.ns) }

// Close stops the broker and waits for it.
func (s *Server) Close() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
}
