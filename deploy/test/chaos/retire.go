package main

import (
	"fmt"
	"syscall"
	"time"
)

// grace is the time in which a program must end, as terminationGracePeriodSeconds of Kubernetes.
const grace = 30 * time.Second

// retire signals the program to end, as an orchestrator does, and returns the time that it took and its error; nil: exit code 0.
// The program is not restarted. After limit it is killed.
func (p *program) retire(s syscall.Signal, limit time.Duration) (time.Duration, error) {
	p.mu.Lock()
	p.retired = true
	p.mu.Unlock()
	began := time.Now()
	p.signal(s)
	select {
	case <-p.done:
	case <-time.After(limit):
		p.close()
		return time.Since(began), fmt.Errorf("did not end within %v", limit)
	}
	took := time.Since(began)
	p.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	return took, p.exit
}

// forgive clears the crashes so far. Services and broker start in any order, so some may have ended until the other was ready.
func (p *program) forgive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.crashes = nil
}

func (p *program) isRetired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retired
}
