//go:build unix

package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/tieback/tieback/services/connectors/tryton"
)

// The settings of a local Tryton. The password is not secret: the ports are on loopback.
const (
	Database = "tieback"
	User     = "admin"
	Password = "tieback"
	Company  = "Builders"
	Currency = "USD"
)

// Server is a running Tryton with its database. Its methods are not safe for concurrent use.
type Server struct {
	dir          string
	pgPort, port int
	pg, trytond  *process
}

// Start runs a Tryton whose books are in dir. An empty dir gets a new company, copied from a template that is
// built once per user (about two minutes; a copy takes some seconds). The caller closes the server.
func Start(ctx context.Context, dir string) (*Server, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	s := &Server{dir: dir}
	if _, err := os.Stat(s.data()); errors.Is(err, fs.ErrNotExist) {
		if err := fromTemplate(ctx, s.data()); err != nil {
			return nil, err
		}
	}
	if err := s.up(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// data is the folder of the database cluster.
func (s *Server) data() string { return filepath.Join(s.dir, "postgresql") }

// Settings returns the settings of the driver.
func (s *Server) Settings() map[string]string {
	return map[string]string{"url": s.URL(), "database": Database, "user": User, "password": Password, "company": Company}
}

// URL returns the URL of trytond. Restart keeps it.
func (s *Server) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.port) }

// up starts the processes.
func (s *Server) up(ctx context.Context) (err error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if err := tryton.WriteModule(filepath.Join(s.dir, "module")); err != nil {
		return err
	}
	if err := s.startPostgres(ctx); err != nil {
		return err
	}
	return s.startTrytond(ctx)
}

func (s *Server) startPostgres(ctx context.Context) (err error) {
	if s.pgPort, err = freePort(); err != nil {
		return err
	}
	cmd := exec.Command(postgres("postgres"), "-D", s.data(), "-p", strconv.Itoa(s.pgPort), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "max_connections=60")
	if cmd.SysProcAttr, err = asPostgres(); err != nil {
		return err
	}
	cmd.Dir = "/"
	if s.pg, err = run(cmd, filepath.Join(s.dir, "postgresql.log")); err != nil {
		return err
	}
	return s.pg.wait(ctx, func(ctx context.Context) error {
		return exec.CommandContext(ctx, postgres("pg_isready"), "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(s.pgPort)).Run()
	})
}

func (s *Server) startTrytond(ctx context.Context) (err error) {
	if s.port == 0 {
		if s.port, err = freePort(); err != nil {
			return err
		}
	}
	conf, err := s.configure()
	if err != nil {
		return err
	}
	cmd := exec.Command(find("trytond"), "-c", conf, "-d", Database)
	cmd.Env = s.env()
	if s.trytond, err = run(cmd, filepath.Join(s.dir, "trytond.log")); err != nil {
		return err
	}
	return s.trytond.wait(ctx, func(ctx context.Context) error { return tryton.Ready(ctx, s.URL()) })
}

// configure writes trytond.conf. Sessions are long, as some buttons need a new one. Retries are needed
// because the postings of several clients use the same sequences.
func (s *Server) configure() (string, error) {
	conf := filepath.Join(s.dir, "trytond.conf")
	return conf, os.WriteFile(conf, fmt.Appendf(nil, `[database]
uri = postgresql://tieback@127.0.0.1:%d/
retry = 25
[web]
listen = 127.0.0.1:%d
[session]
timeout = 86400
max_age = 2592000
`, s.pgPort, s.port), 0o644)
}

func (s *Server) env() []string {
	return append(os.Environ(), "PYTHONPATH="+filepath.Join(s.dir, "module"), "PYTHONDONTWRITEBYTECODE=1",
		"TRYTONPASSFILE="+filepath.Join(s.dir, "password"))
}

// Kill ends trytond immediately, like kill -9. The database keeps running.
func (s *Server) Kill() { s.trytond.end(syscall.SIGKILL) }

// Restart starts trytond again, and kills it first if it is running.
func (s *Server) Restart(ctx context.Context) error {
	s.Kill()
	return s.startTrytond(ctx)
}

// Close ends both processes. The books stay in the folder. It may be called twice.
func (s *Server) Close() error {
	s.trytond.end(syscall.SIGTERM)
	s.pg.end(syscall.SIGINT)
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// ready is the time that a process may take to start.
const ready = time.Minute

// DatabaseURI returns the URI of the database, for psql.
func (s *Server) DatabaseURI() string {
	return fmt.Sprintf("postgresql://tieback@127.0.0.1:%d/%s", s.pgPort, Database)
}
