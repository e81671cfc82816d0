// Package broker is a JetStream server inside the process: files on disk, every write
// synced, no port.
package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is an embedded broker.
type Server struct {
	ns   *server.Server
	lock *os.File
}

// ErrHeld says that another process has the folder.
var ErrHeld = errors.New("one process at a time can open the embedded broker, and another one has it, tieback run or a command: stop it first")

// Start starts a broker that keeps its streams in dir, where no other process does: else ErrHeld. Close it after its clients.
func Start(dir string) (*Server, error) {
	lock, err := take(dir + ".lock")
	if err != nil {
		return nil, err
	}
	s, err := start(dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	return s, nil
}

// take locks a file: two brokers on one folder would spoil it. The lock goes with the process.
func take(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); { //nolint:gosec // a file descriptor fits
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("%s: %w", path, ErrHeld), f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("%s can't be locked, is it on a network drive? Give TIEBACK_DATA a local folder: %w", path, err), f.Close())
	}
	return f, nil
}

func start(dir string) (*Server, error) {
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
	return &Server{ns: ns}, nil
}

// InProcess is how a client in this process connects.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s.ns) }

// Close stops the broker and waits for it.
func (s *Server) Close() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	_ = s.lock.Close() // which unlocks
}
