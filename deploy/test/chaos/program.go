package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// program is a process that is restarted whenever it ends, as by an orchestrator. It writes to a log file of its own.
//
//	start ──▶ up ──kill, crash──▶ down ──a while later──▶ up …
//	          up ──pause──▶ stopped by SIGSTOP ──resume──▶ up
//	          up ──retire──▶ down, until it is started again
type program struct {
	name string
	path string
	args []string
	env  []string
	logs string // folder
	up   func() // after each start but the first; may be nil

	mu      sync.Mutex
	process *os.Process // nil: down
	paused  bool
	down    time.Duration // before the restart after the current kill
	killed  bool          // by kill
	crashes []string      // how it ended without a kill, each time
	retired bool          // it must end and stay down; see retire
	exit    error         // how it last ended

	stop context.CancelFunc
	done chan struct{}
}

// restartAfter is the time before a program that ended by itself is restarted.
const restartAfter = 500 * time.Millisecond

// start runs the program until close.
func (p *program) start(ctx context.Context) error {
	ctx, p.stop = context.WithCancel(ctx)
	p.done, p.retired = make(chan struct{}), false
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd, err := p.spawn(log)
	if err != nil {
		_ = log.Close()
		return err
	}
	go p.keep(ctx, cmd, log)
	return nil
}

func (p *program) keep(ctx context.Context, cmd *exec.Cmd, log *os.File) {
	defer close(p.done)
	defer log.Close()
	for {
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			wait := p.ended(err, log)
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if p.isRetired() {
				return
			}
		case <-ctx.Done():
			p.kill(0)
			p.ended(<-ended, log)
			return
		}
		var err error
		if cmd, err = p.spawn(log); err != nil {
			fmt.Fprintf(log, "chaos: %v\n", err)
			return
		}
		if p.up != nil {
			p.up()
		}
	}
}

func (p *program) spawn(log *os.File) (*exec.Cmd, error) {
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
	// The child dies with this process, and does not get its interrupts.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := spawner(cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process, p.paused, p.killed = cmd.Process, false, false
	fmt.Fprintf(log, "chaos: %s %s started, pid %d\n", time.Now().UTC().Format(time.RFC3339Nano), p.name, cmd.Process.Pid)
	return cmd, nil
}

// ended records the end and returns the time until the restart.
func (p *program) ended(err error, log *os.File) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	words := lastWords(p.log())
	fmt.Fprintf(log, "chaos: %s %s ended: %v, killed by us: %v\n", time.Now().UTC().Format(time.RFC3339Nano), p.name, err, p.killed)
	p.process, p.exit = nil, err
	if p.retired {
		return 0
	}
	if !p.killed {
		p.crashes = append(p.crashes, fmt.Sprintf("%s, %v: %s", p.name, err, words))
		return restartAfter
	}
	return p.down
}

// lastWords returns the last line of the program in its log, or the beginning of the log.
func lastWords(path string) (words string) {
	log, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(log)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "chaos: ") {
			words = line
		}
	}
	return words[:min(len(words), 400)]
}

func (p *program) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != nil {
		_ = p.process.Signal(s) // it may just have ended
	}
}

// kill is kill -9; the program stays down for a while.
func (p *program) kill(down time.Duration) {
	p.mu.Lock()
	p.down, p.killed = down, p.process != nil
	p.mu.Unlock()
	p.signal(syscall.SIGKILL)
}

func (p *program) pause() {
	p.mu.Lock()
	p.paused = p.process != nil
	p.mu.Unlock()
	p.signal(syscall.SIGSTOP)
}

func (p *program) resume() {
	p.signal(syscall.SIGCONT)
	p.mu.Lock()
	p.paused = false
	p.mu.Unlock()
}

// running reports whether the program is up and not paused.
func (p *program) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process != nil && !p.paused
}

// logged reports whether the running process has written the words.
func (p *program) logged(words string) bool {
	log, err := os.ReadFile(p.log())
	if err != nil {
		return false
	}
	since := bytes.LastIndex(log, []byte(p.name+" started, pid"))
	return bytes.Contains(log[max(0, since):], []byte(words))
}

func (p *program) log() string { return filepath.Join(p.logs, p.name+".log") }

func (p *program) crashed() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.crashes)
}

// close kills the program and waits; it is not restarted. It may be called twice, and before start.
func (p *program) close() {
	if p.stop != nil {
		p.stop()
		<-p.done
	}
}

// spawner starts processes from one thread that never ends, because Pdeathsig refers to the thread.
var spawner = func() func(func() error) error {
	type job struct {
		start func() error
		err   chan error
	}
	jobs := make(chan job)
	go func() {
		runtime.LockOSThread()
		for j := range jobs {
			j.err <- j.start()
		}
	}()
	return func(start func() error) error {
		j := job{start, make(chan error, 1)}
		jobs <- j
		return <-j.err
	}
}()
