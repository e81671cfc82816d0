package ingest

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

// Bounds of the public port, before a caller has shown the token of a company. A delivery has about 1 KiB of
// headers; a connection that waits for its headers costs about 25 KiB.
const (
	maxHeader      = 16 << 10
	maxConnections = 1024
)

// connections bounds how many connections are open. While there are more than most, the one is closed
// that has waited longest without an authentic delivery, so that a valid delivery, which needs
// milliseconds, finds room beside any number of idle or slow connections. All methods may be called
// concurrently.
type connections struct {
	most int

	mu      sync.Mutex
	open    map[net.Conn]*list.Element // in waiting; nil: an authentic delivery is being received
	waiting *list.List                 // of net.Conn, the longest first
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
		c.open[conn] = c.waiting.PushBack(conn)
		c.evict()
	case http.StateIdle:
		if e, known := c.open[conn]; known {
			c.forget(e)
			c.open[conn] = c.waiting.PushBack(conn)
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

// evict closes what is more than most. The caller holds mu.
func (c *connections) evict() {
	for len(c.open) > c.most && c.waiting.Len() > 0 {
		conn := c.waiting.Remove(c.waiting.Front()).(net.Conn)
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
