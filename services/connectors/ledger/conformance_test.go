package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance"
	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/connector/conformance/wire"
	"github.com/tieback/tieback/pkg/connector/remote"
)

// The suite in one process, each driver with its own handle.
func TestConformance(t *testing.T) {
	dir := t.TempDir()
	conformance.Test(t, conformance.Target{
		Company: company, Other: company + 1,
		Open: func(ctx context.Context) (connector.Driver, error) { return Open(dir).Company(ctx, company) },
	})
}

// The suite over gRPC, with a process that is killed while it writes.
func TestConformanceWhenKilled(t *testing.T) {
	if dir := os.Getenv("LEDGER_TEST_SERVE"); dir != "" {
		serveBooks(t, dir, os.Getenv("LEDGER_TEST_ADDR"))
		return
	}
	p := &process{t: t, dir: t.TempDir(), addr: "127.0.0.1:0"}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	target, err := wire.Target(t.Context(), company, map[string]string{"address": p.addr, "tls": "off"})
	if err != nil {
		t.Fatal(err)
	}
	target.Other, target.Restart = company+1, func(context.Context) error { p.kill(); return p.start() }
	target.Stop = func(context.Context) error { return errors.Join(p.stop(), p.start()) }
	conformance.Test(t, target)
}

// serveBooks is the process: it prints its address, and serves until it is killed or terminated.
func serveBooks(t *testing.T, dir, addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	books := Open(dir)
	open := sync.OnceValues(func() (*Books, error) { return books.Company(context.Background(), company) })
	fmt.Printf("listening on %s\n", l.Addr())
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	err = remote.Serve(ctx, remote.ServerConfig{
		Listener: l, Rehearsal: true,
		Resolve: func(context.Context, int64) (connector.Driver, error) {
			d, err := open()
			return rehearsal.Edge(d), err
		},
	})
	if err := errors.Join(err, books.Close()); err != nil {
		t.Error(err)
	}
}

// process is a child process that serves the books, always on the same address.
type process struct {
	t    *testing.T
	dir  string
	addr string
	cmd  *exec.Cmd
}

func (p *process) start() error {
	p.cmd = exec.Command(os.Args[0], "-test.run=^TestConformanceWhenKilled$")
	p.cmd.Env = append(os.Environ(), "LEDGER_TEST_SERVE="+p.dir, "LEDGER_TEST_ADDR="+p.addr)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(said), "listening on ")
	if !ok {
		return fmt.Errorf("the child said %q, %v", said, err)
	}
	p.addr = addr
	return nil
}

// stop terminates the child and waits until it has ended.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// kill kills the child and waits until it has ended. It may be called twice.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
