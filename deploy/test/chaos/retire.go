package main

import (
	"fmt"
	"syscall"
	"time"
)

// grace is how long what was asked to end may take: Kubernetes' terminationGracePeriodSeconds.
const grace = 30 * time.Second

// retire asks the program to end, as an orchestrator does, and says how long that took and how
// it ended: nil is exit code 0. It is not started again. Past limit it is killed.
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

// forgive forgets the crashes so far: services and broker start in any order, and some ended until
// the other was there.
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
