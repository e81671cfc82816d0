//go:build unix

package local

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
	"time"
)

// process is a process that this package started.
type process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

func run(cmd *exec.Cmd, log string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &process{cmd: cmd, log: log, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// wait waits until check succeeds or the process has ended.
func (p *process) wait(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, ready)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended before it was ready; see %s: %s", p.cmd.Path, p.log, tail(p.log))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready; see %s: %w", p.cmd.Path, p.log, err)
		case <-tick.C:
		}
	}
}

func tail(file string) string {
	raw, _ := os.ReadFile(file)
	return string(raw[max(0, len(raw)-2000):])
}

// end signals the process and waits for it. It kills it after ten seconds.
func (p *process) end(s syscall.Signal) {
	if p == nil {
		return
	}
	select {
	case <-p.ended:
		return
	default:
	}
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// asPostgres returns the attributes of the database's process. PostgreSQL does not run as root, so root
// starts it as the user postgres.
func asPostgres() (*syscall.SysProcAttr, error) {
	a := &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must not reach it: Close ends it in order
	if os.Geteuid() != 0 {
		return a, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres: %w", err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	a.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return a, nil
}
