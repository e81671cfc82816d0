package main

import (
	"fmt"
	"net"
	"sync"
)

// ports allocates free ports of the loopback address, each once per run. They are below the ephemeral range, so that the port of
// a stopped process stays free for its restart.
type ports struct {
	mu   sync.Mutex
	next int
}

const (
	firstPort = 12_000
	lastPort  = 32_000
)

// take returns an address.
func (p *ports) take() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range lastPort - firstPort {
		if p.next++; p.next < firstPort || p.next >= lastPort {
			p.next = firstPort
		}
		addr := fmt.Sprintf("127.0.0.1:%d", p.next)
		if l, err := net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("no port between %d and %d is free", firstPort, lastPort)
}
