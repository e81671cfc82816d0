package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is a program that the benchmark has started. Its methods may not be called concurrently.
type process struct {
	name string
	argv []string
	env  []string
	dir  string // of its log

	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
}

// part returns this program as a part of the benchmark; see Options.Part.
func part(name, dir string, env ...string) *process {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return &process{name: name, argv: []string{self, "bench", "--part", name}, env: env, dir: dir}
}

// start starts the process. It is killed when ctx ends. A process that has ended may be started again.
func (p *process) start(ctx context.Context) error {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TIEBACK_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, p.env...)
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.ended = ended
	go func() {
		_ = p.cmd.Wait() // the log has the reason
		close(ended)
	}()
	return nil
}

// kill kills the process with SIGKILL and waits for its end.
func (p *process) kill() {
	if p == nil || p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
}

func (p *process) log() string { return filepath.Join(p.dir, p.name+".log") }

// lastWords returns the end of the log.
func (p *process) lastWords() string {
	b, _ := os.ReadFile(p.log())
	return strings.TrimSpace(string(b[max(0, len(b)-600):]))
}

// listening waits until the process accepts connections at an address.
func (p *process) listening(ctx context.Context, addr string) error {
	for end := time.Now().Add(30 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended: %s", p.name, p.lastWords())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s does not listen on %s after 30 s: %s", p.name, addr, p.lastWords())
		}
	}
}

// freePort returns a loopback address that no program listens on.
func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}

// ticks is the unit of /proc/PID/stat on every Linux: 100 per second.
const ticks = 100

// cpu returns the CPU seconds of a process so far, user and system.
func (p *process) cpu() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("CPU time is read from /proc, which Linux has: %w", err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // f[0] is the third field, the state
	if len(f) < 13 {
		return 0, errors.New("/proc: a process has too few fields")
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	return float64(user+system) / ticks, err
}

// memory returns the largest resident memory of a process so far, and the memory now, in MiB.
func (p *process) memory() (peak, now float64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "VmHWM:":
			peak = kib / 1024
		case "VmRSS:":
			now = kib / 1024
		}
	}
	return peak, now
}

// busy returns the CPU seconds of all processes of the machine since it was started.
func busy() float64 {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	var sum int64
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		if i < len(f) {
			n, _ := strconv.ParseInt(f[i], 10, 64)
			sum += n
		}
	}
	return float64(sum) / ticks
}
