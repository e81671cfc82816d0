// Package broker is a JetStream server inside the process: files on disk, every write
// synced, no port. Keep restarts it after its disk was full.
package broker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// Server is an embedded broker. Its methods may be called concurrently.
type Server struct {
	dir  string
	log  *zap.Logger
	lock *os.File

	mu sync.Mutex
	ns *server.Server // nil while it is restarted, and after Close
}

// ErrHeld says that another process has the folder.
var ErrHeld = errors.New("one process at a time can open the embedded broker, and another one has it, tieback run or a command: stop it first")

// Start starts a broker that keeps its streams in dir, where no other process does: else ErrHeld. Close it after its clients.
// It logs nothing.
func Start(dir string) (*Server, error) { return StartLogging(dir, zap.NewNop()) }

// StartLogging is Start with a log for the broker's own warnings and errors.
func StartLogging(dir string, log *zap.Logger) (*Server, error) {
	lock, err := take(dir + ".lock")
	if err != nil {
		return nil, err
	}
	ns, err := start(dir, log)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Server{dir: dir, log: log, lock: lock, ns: ns}, nil
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

func start(dir string, log *zap.Logger) (*server.Server, error) {
	ns, err := server.NewServer(&server.Options{
		ServerName: "tieback", JetStream: true, StoreDir: dir, DontListen: true, NoSigs: true, SyncAlways: true, NoLog: true,
		MaxPayload: 8 << 20, // an ERP request of 1,000 lines is about 3 MB
	})
	if err != nil {
		return nil, err
	}
	ns.SetLoggerV2(newLogger(log), false, false, false)
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		ns.Shutdown()
		return nil, errors.New("the embedded broker did not start within 10 s")
	}
	return ns, nil
}

// InProcess is how a client in this process connects. It reconnects by itself after a restart of the broker.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s) }

// InProcessConn gives a client a connection to the broker, and an error while it is restarted.
func (s *Server) InProcessConn() (net.Conn, error) {
	if ns := s.running(); ns != nil {
		return ns.InProcessConn()
	}
	return nil, errors.New("the embedded broker does not run")
}

// running is the broker; nil: none runs now.
func (s *Server) running() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ns
}

// Close stops the broker and waits for it. Keep must have returned.
func (s *Server) Close() {
	s.shutdown()
	_ = s.lock.Close() // which unlocks
}

func (s *Server) shutdown() {
	s.mu.Lock()
	ns := s.ns
	s.ns = nil
	s.mu.Unlock()
	if ns != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
}
