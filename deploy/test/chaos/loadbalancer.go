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

// loadBalancer is the one address of all instances of ingest, like a Kubernetes Ingress. It sends each delivery to the
// next instance that is ready and never retries one: Procore does.
type loadBalancer struct {
	addr   string
	server *http.Server
	done   chan struct{}

	mu      sync.Mutex
	behind  []string // addresses
	next    int
	passed  map[string]int // deliveries answered 2xx, by address
	refused int            // deliveries that were answered otherwise, or not
}

func openLoadBalancer(p *ports) (*loadBalancer, error) {
	addr, err := p.take()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	d := &loadBalancer{addr: addr, done: make(chan struct{}), passed: map[string]int{}}
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

// turn returns the next instance's address, or, if there is none, an address on which no process listens.
func (d *loadBalancer) turn() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.behind) == 0 {
		return "127.0.0.1:1"
	}
	d.next++
	return d.behind[d.next%len(d.behind)]
}

func (d *loadBalancer) answered(r *http.Response) error {
	if r.StatusCode/100 != 2 {
		d.refuse()
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.passed[r.Request.URL.Host]++
	return nil
}

func (d *loadBalancer) refuse() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused++
}

func (d *loadBalancer) admit(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behind = append(d.behind, addr)
}

func (d *loadBalancer) dismiss(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behind = slices.DeleteFunc(d.behind, func(b string) bool { return b == addr })
}

// unused returns the instances that were registered and got no delivery.
func (d *loadBalancer) unused(instances []string) []string {
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

func (d *loadBalancer) refusals() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused
}

// close stops the load balancer. It does nothing to a nil one.
func (d *loadBalancer) close() {
	if d != nil {
		_ = d.server.Close()
		<-d.done
	}
}
