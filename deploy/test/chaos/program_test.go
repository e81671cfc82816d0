package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// started starts a shell script as a program whose restarts can be waited for.
func started(t *testing.T, script string) (p *program, again chan struct{}) {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell here")
	}
	again = make(chan struct{}, 100)
	p = &program{name: "probe", path: sh, args: []string{"-c", script}, logs: t.TempDir(), up: func() { again <- struct{}{} }}
	if err := p.start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p, again
}

// A killed program is restarted, and is not counted as crashed.
func TestAKilledProgramIsStartedAgain(t *testing.T) {
	p, again := started(t, "sleep 600")
	p.kill(0)
	<-again
	if len(p.crashed()) != 0 || !p.running() {
		t.Errorf("crashes %v, running %v", p.crashed(), p.running())
	}
}

func TestAProgramThatEndsByItselfIsStartedAgainAndCounted(t *testing.T) {
	p, again := started(t, "echo once more")
	<-again
	if c := p.crashed(); len(c) == 0 || !strings.HasSuffix(c[0], "<nil>: once more") {
		t.Error("nobody counted it")
	}
	log, err := os.ReadFile(p.log())
	if err != nil || !strings.Contains(string(log), "once more") {
		t.Errorf("its log is lost: %q, %v", log, err)
	}
}

// A paused process exists and does nothing; kill ends it.
func TestAPausedProgramCanBeKilled(t *testing.T) {
	p, again := started(t, "sleep 600")
	p.pause()
	if p.running() {
		t.Error("it says it is running")
	}
	p.kill(0)
	<-again
	if !p.running() {
		t.Error("it is down")
	}
}

// No program survives close.
func TestCloseEndsTheProcess(t *testing.T) {
	p, _ := started(t, "sleep 600")
	p.mu.Lock()
	process := p.process
	p.mu.Unlock()
	p.close()
	p.close() // twice
	if err := process.Signal(os.Interrupt); err == nil {
		t.Error("it lives")
	}
}
