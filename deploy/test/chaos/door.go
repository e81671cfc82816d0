package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"
)

// door is the one address before the instances of ingest, as a cluster's Ingress is: each delivery
// goes to one of those that are ready, in turn. It never sends one a second time; Procore does.
type door struct {
	addr   string
	server *http.Server
	done   chan struct{}

	mu      sync.Mutex
	behind  []string // addresses
	next    int
	passed  map[string]int // deliveries answered 2xx, by address
	refused int            // deliveries that were answered otherwise, or not
}

func openDoor(p *ports) (*door, error) {
	addr, err := p.take()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	d := &door{addr: addr, done: make(chan struct{}), passed: map[string]int{}}
	d.server = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: &httputil.ReverseProxy{
		Transport:      &http.Transport{MaxIdleConnsPerHost: 32},
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: d.turn()}) },
		ModifyResponse: d.answered,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			d.refuse()
			w.WriteHeader(http.StatusBadGateway)
		},
	}}
	go func() {
		defer close(d.done)
		_ = d.server.Serve(l)
	}()
	return d, nil
}

// turn is whose turn it is; an address that nobody listens at where there is nobody.
func (d *door) turn() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.behind) == 0 {
		return "127.0.0.1:1"
	}
	d.next++
	return d.behind[d.next%len(d.behind)]
}

func (d *door) answered(r *http.Response) error {
	if r.StatusCode/100 != 2 {
		d.refuse()
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.passed[r.Request.URL.Host]++
	return nil
}

func (d *door) refuse() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused++
}

func (d *door) admit(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behind = append(d.behind, addr)
}

func (d *door) dismiss(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behind = slices.DeleteFunc(d.behind, func(b string) bool { return b == addr })
}

// unused are the instances that were behind the door and got no delivery.
func (d *door) unused(instances []string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for i, addr := range instances {
		if d.passed[addr] == 0 {
			out = append(out, fmt.Sprintf("instance %d of ingest", i+1))
		}
	}
	return out
}

func (d *door) refusals() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused
}

// close is for good; a nil door is closed.
func (d *door) close() {
	if d != nil {
		_ = d.server.Close()
		<-d.done
	}
}
