package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// network has the links of a cluster, one for each pair of parts, so that each can be cut separately.
type network struct {
	server *toxiproxy.ApiServer
	ports  *ports
	links  []*link
}

func newNetwork(p *ports) *network {
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics ignore the logger
	return &network{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), ports: p}
}

// link is a TCP proxy between two parts.
type link struct {
	name, from, to string
	addr           string // where from connects
	proxy          *toxiproxy.Proxy
	mu             sync.Mutex
	cuts           int // in effect
	toxics         int // number so far, for their names
}

func (n *network) link(from, to, upstream string) (*link, error) {
	l := &link{name: from + "→" + to, from: from, to: to}
	var err error
	for range 5 { // another process may take the port
		if l.addr, err = n.ports.take(); err != nil {
			return nil, err
		}
		l.proxy = toxiproxy.NewProxy(n.server, l.name, l.addr, upstream)
		if err = l.proxy.Start(); err == nil {
			n.links = append(n.links, l)
			return l, nil
		}
	}
	return nil, err
}

func (n *network) close() {
	for _, l := range n.links {
		l.proxy.Stop()
	}
}

// cut closes the connections of the link, and refuses new ones until the returned function is called.
func (l *link) cut() (undo func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cuts++; l.cuts == 1 {
		l.proxy.Stop()
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.cuts--; l.cuts > 0 {
			return
		}
		for range 50 { // the closed listener may hold the port for a moment
			if l.proxy.Start() == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// toxic is a fault of a link.
type toxic struct {
	Type  string
	Ways  string // up, down, both
	Attrs string // JSON
}

var (
	hanging     = toxic{"timeout", "both", `{"timeout":0}`} // no data passes, no connection is closed
	lostAnswers = toxic{"timeout", "down", `{"timeout":0}`} // requests pass, responses don't
	resetting   = toxic{"reset_peer", "both", `{"timeout":50}`}
)

func latency(d time.Duration) toxic {
	return toxic{"latency", "both", fmt.Sprintf(`{"latency":%d,"jitter":%d}`, d.Milliseconds(), d.Milliseconds()/2)}
}

// narrow limits a link to a number of kB/s.
func narrow(rate int) toxic { return toxic{"bandwidth", "both", fmt.Sprintf(`{"rate":%d}`, rate)} }

func (l *link) poison(t toxic) (undo func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	remove := func() {
		for _, name := range names {
			_ = l.proxy.Toxics.RemoveToxic(context.Background(), name)
		}
	}
	for _, stream := range []string{"upstream", "downstream"} {
		if t.Ways != "both" && !strings.HasPrefix(stream, t.Ways) {
			continue
		}
		l.toxics++
		name := fmt.Sprintf("%s-%d", t.Type, l.toxics)
		spec := fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"attributes":%s}`, name, t.Type, stream, t.Attrs)
		if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(spec)); err != nil {
			remove()
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		names = append(names, name)
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		remove()
	}, nil
}
