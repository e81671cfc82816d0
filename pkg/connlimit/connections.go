// Package connlimit bounds how many connections an HTTP server keeps open, so that idle and slow ones take neither all
// memory nor all file descriptors of the process.
package connlimit

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// minAge is the age up to which a connection is not closed to make room. While all connections are younger, no new one is
// accepted: new ones wait in the listener's queue. A request thus has this time to arrive, whatever the rate of new
// connections.
const minAge = 200 * time.Millisecond

// Share returns limit, or 1/parts of the file descriptors that the process may open if that is less; at least 1. The process
// also needs descriptors for the broker and for files.
func Share(limit, parts int) int {
	return share(limit, parts, descriptors())
}

func share(limit, parts int, descriptors uint64) int {
	return int(min(uint64(limit), max(descriptors/uint64(parts), 1))) //nolint:gosec // positive numbers, at most limit
}

// Connections limits the open connections of one server. While there are too many, it closes the one that has been open for
// the longest time without a request for which Keep was called. A short request thus succeeds beside any number of idle or
// slow connections. All methods may be called concurrently.
type Connections struct {
	limit int

	mu      sync.Mutex
	open    map[net.Conn]*list.Element // in waiting; nil: kept
	waiting *list.List                 // of waitingConn, the longest first
}

// waitingConn is a connection that is not kept.
type waitingConn struct {
	conn  net.Conn
	since time.Time
}

// New returns a limit of the given number of connections.
func New(limit int) *Connections {
	return &Connections{limit: limit, open: map[net.Conn]*list.Element{}, waiting: list.New()}
}

// Limit applies the limit to connections that srv accepts from l. The caller serves the returned listener. Limit sets
// ConnState and ConnContext of srv.
func (c *Connections) Limit(srv *http.Server, l net.Listener) net.Listener {
	srv.ConnState, srv.ConnContext = c.connState, withConn
	return listener{l, c}
}

// connState is the ConnState of the http.Server.
func (c *Connections) connState(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = c.waiting.PushBack(waitingConn{conn, time.Now()})
		c.evict()
	case http.StateIdle:
		if e, known := c.open[conn]; known {
			c.forget(e)
			c.open[conn] = c.waiting.PushBack(waitingConn{conn, time.Now()})
		}
	case http.StateClosed, http.StateHijacked:
		c.forget(c.open[conn])
		delete(c.open, conn)
	}
}

func (c *Connections) forget(e *list.Element) {
	if e != nil {
		c.waiting.Remove(e)
	}
}

// acceptDelay returns how long to wait before the next connection may be accepted; 0: it may be accepted now.
func (c *Connections) acceptDelay() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) < c.limit {
		return 0
	}
	if c.waiting.Len() == 0 {
		return minAge / 10
	}
	return max(0, minAge-time.Since(c.waiting.Front().Value.(waitingConn).since))
}

// listener accepts a connection when there is room for it.
type listener struct {
	net.Listener
	open *Connections
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	for wait := l.open.acceptDelay(); wait > 0; wait = l.open.acceptDelay() {
		time.Sleep(wait)
	}
	return l.Listener.Accept()
}

// evict closes the connections above the limit. The caller holds mu.
func (c *Connections) evict() {
	for len(c.open) > c.limit && c.waiting.Len() > 0 {
		conn := c.waiting.Remove(c.waiting.Front()).(waitingConn).conn
		delete(c.open, conn)
		_ = conn.Close() // its handler sees the end of the connection
	}
}

// Keep keeps a request's connection open until the next request on it.
func (c *Connections) Keep(r *http.Request) {
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
