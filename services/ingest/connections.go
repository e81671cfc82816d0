package ingest

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of the public port, before a caller has shown the token of a company. A delivery has about 1 KiB of
// headers; a connection that waits for its headers costs up to 50 KiB: 2,048 of them took 142 MiB, as the command flood measured.
const (
	maxHeader      = 16 << 10
	maxConnections = 2048
	// leastAge is how long each connection may stay at least. While all are younger, no new one is accepted: new ones
	// wait in the listener's queue. So a valid delivery has this time to be read, at any rate of new connections.
	leastAge = 50 * time.Millisecond
)

// bound is how many connections may be open: maxConnections, or half of what the process may have of descriptors,
// which it also needs for the broker and for files.
func bound(descriptors uint64) int {
	return int(min(maxConnections, max(descriptors/2, 1))) //nolint:gosec // at most maxConnections
}

// connections bounds how many connections are open. While there are more than most, the one is closed
// that has waited longest without an authentic delivery, so that a valid delivery, which needs
// milliseconds, finds room beside any number of idle or slow connections. All methods may be called
// concurrently.
type connections struct {
	most int

	mu      sync.Mutex
	open    map[net.Conn]*list.Element // in waiting; nil: an authentic delivery is being received
	waiting *list.List                 // of waiter, the longest first
}

// waiter is a connection without an authentic delivery.
type waiter struct {
	conn  net.Conn
	since time.Time
}

func newConnections(most int) *connections {
	return &connections{most: most, open: map[net.Conn]*list.Element{}, waiting: list.New()}
}

// changed is an http.Server's ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = c.waiting.PushBack(waiter{conn, time.Now()})
		c.evict()
	case http.StateIdle:
		if e, known := c.open[conn]; known {
			c.forget(e)
			c.open[conn] = c.waiting.PushBack(waiter{conn, time.Now()})
		}
	case http.StateClosed, http.StateHijacked:
		c.forget(c.open[conn])
		delete(c.open, conn)
	}
}

func (c *connections) forget(e *list.Element) {
	if e != nil {
		c.waiting.Remove(e)
	}
}

// full is how long to wait until one more connection may be accepted; 0: one may be now.
func (c *connections) full() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) < c.most {
		return 0
	}
	if c.waiting.Len() == 0 {
		return leastAge / 10
	}
	return max(0, leastAge-time.Since(c.waiting.Front().Value.(waiter).since))
}

// listener accepts a connection when there is room for it.
type listener struct {
	net.Listener
	open *connections
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	for wait := l.open.full(); wait > 0; wait = l.open.full() {
		time.Sleep(wait)
	}
	return l.Listener.Accept()
}

// evict closes what is more than most. The caller holds mu.
func (c *connections) evict() {
	for len(c.open) > c.most && c.waiting.Len() > 0 {
		conn := c.waiting.Remove(c.waiting.Front()).(waiter).conn
		delete(c.open, conn)
		_ = conn.Close() // its handler sees the end of the connection
	}
}

// authentic keeps a request's connection open until the next request on it.
func (c *connections) authentic(r *http.Request) {
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, known := c.open[conn]; known {
		c.forget(e)
		c.open[conn] = nil
	}
}

type connKey struct{}

func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}
