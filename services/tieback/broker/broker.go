// Package broker runs a JetStream server inside the process. It stores files on disk, syncs every write, and listens on no
// port unless it is started by StartListening. Supervise restarts it after its disk was full.
package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/localfile"
)

// Server is an embedded broker. Its methods may be called concurrently.
type Server struct {
	dir  string
	log  *zap.Logger
	how  how
	lock *os.File

	mu sync.Mutex
	ns *server.Server // nil during a restart and after Close
}

// ErrInUse is returned by Start if another process runs a broker on the directory.
var ErrInUse = errors.New("another process, tieback run or a command, uses the embedded broker: stop it first")

// errNotRunning is the error of a broker that is being restarted.
var errNotRunning = errors.New("the embedded broker is not running")

// Start starts a broker that stores its streams in dir. If another process uses dir, the error is ErrInUse. Close the broker after
// its clients. It logs nothing.
func Start(dir string) (*Server, error) { return StartLogging(dir, zap.NewNop()) }

// StartLogging is Start with a log for the broker's warnings and errors.
func StartLogging(dir string, log *zap.Logger) (*Server, error) { return open(dir, log, how{}) }

// StartUnsynced is Start without the sync of each write. After a crash dir may lack messages that were acknowledged, so it is for a
// restore, which is repeated after a crash: the broker writes each restored message by itself. SyncFiles makes the files durable.
func StartUnsynced(dir string) (*Server, error) { return open(dir, zap.NewNop(), how{unsynced: true}) }

// SyncFiles syncs all files of a broker that was closed.
func SyncFiles(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return localfile.SyncDir(path)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// StartListening is Start with a free port of the loopback interface, on which it asks for no key, for clients in other processes
// of a benchmark. After a restart by Supervise the port is another one.
func StartListening(dir string) (s *Server, url string, err error) {
	if s, err = open(dir, zap.NewNop(), how{listen: true}); err != nil {
		return nil, "", err
	}
	return s, s.ns.ClientURL(), nil
}

// how is how a broker runs.
type how struct {
	listen   bool // on a port; otherwise only in this process
	unsynced bool // does not sync each write
}

func open(dir string, log *zap.Logger, how how) (*Server, error) {
	lock, err := acquire(dir + ".lock")
	if err != nil {
		return nil, err
	}
	ns, err := start(dir, log, how)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Server{dir: dir, log: log, how: how, lock: lock, ns: ns}, nil
}

// acquire locks a file, as two brokers on one directory would corrupt it. The lock ends with the process.
func acquire(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	switch locked, err := localfile.Lock(f, true); {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("%s can't be locked; network drives may not support locks: set TIEBACK_DATA to a local directory: %w", path, err), f.Close())
	case !locked:
		return nil, errors.Join(fmt.Errorf("%s: %w", path, ErrInUse), f.Close())
	}
	return f, nil
}

func start(dir string, log *zap.Logger, how how) (*server.Server, error) {
	ns, err := server.NewServer(&server.Options{
		ServerName: "tieback", JetStream: true, StoreDir: dir, DontListen: !how.listen, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, SyncAlways: !how.unsynced, NoLog: true,
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

// InProcess returns the option by which a client in this process connects. The client reconnects after a restart of the broker.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s) }

// InProcessConn implements nats.InProcessConnProvider. It returns an error during a restart of the broker.
func (s *Server) InProcessConn() (net.Conn, error) {
	if ns := s.running(); ns != nil {
		return ns.InProcessConn()
	}
	return nil, errNotRunning
}

// running returns the server, or nil during a restart and after Close.
func (s *Server) running() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ns
}

// Close stops the broker and waits for it. Supervise must have returned.
func (s *Server) Close() {
	s.shutdown()
	_ = s.lock.Close() // this unlocks the file
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
