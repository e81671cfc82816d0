// Command flood measures ingest under hostile connections. It keeps thousands of them open, in the ways that cost a server
// most, sends valid deliveries at the same time, and prints how long the valid ones took. It accepts loopback addresses only.
//
//	flood -url http://127.0.0.1:8080/webhooks/procore/COMPANY -token-file FILE
//
// Exit code 1: a valid delivery was not answered 200 within 5 seconds, Procore's timeout.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// procoreTimeout is the time that Procore waits for an answer.
const procoreTimeout = 5 * time.Second

type flood struct {
	addr        string // of ingest
	path        string
	company     string
	token       string
	connections int
	rate        int // valid deliveries per second
	length      time.Duration

	open     atomic.Int64 // open hostile connections
	maxOpen  atomic.Int64 // largest value of open
	opened   atomic.Int64
	unopened atomic.Int64
}

func main() {
	f := flood{}
	target := flag.String("url", "", "URL of a company's deliveries, on a loopback address")
	tokenFile := flag.String("token-file", "", "file with the company's webhook token")
	flag.IntVar(&f.connections, "connections", 5000, "concurrent hostile connections")
	flag.IntVar(&f.rate, "rate", 20, "valid deliveries per second")
	flag.DurationVar(&f.length, "for", 30*time.Second, "how long to send valid deliveries")
	flag.Parse()
	if err := f.setTarget(*target, *tokenFile); err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(2)
	}
	if !f.run(context.Background(), os.Stdout) {
		os.Exit(1)
	}
}

// setTarget sets the target of the flood.
func (f *flood) setTarget(target, tokenFile string) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "http" || ip == nil || !ip.IsLoopback() || u.Port() == "" {
		return fmt.Errorf("-url %q: want http://127.0.0.1:PORT/webhooks/procore/COMPANY", target)
	}
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	f.addr, f.path, f.company, f.token = u.Host, u.Path, path.Base(u.Path), strings.TrimSpace(string(token))
	return nil
}

// run opens the hostile connections, sends the valid deliveries, and reports whether each was answered in time.
func (f *flood) run(ctx context.Context, out io.Writer) bool {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	behaviors := f.behaviors()
	for i := range f.connections {
		go f.attack(ctx, behaviors[i%len(behaviors)]) // until run returns
	}
	// Wait until nine tenths are open, or 10 s: ingest may accept fewer.
	for began := time.Now(); f.maxOpen.Load() < int64(f.connections)*9/10 && time.Since(began) < 10*time.Second; {
		time.Sleep(100 * time.Millisecond)
	}
	took, failed := f.deliver(ctx)
	slices.Sort(took)
	fmt.Fprintf(out, "hostile: %d opened in all, %d at most at once, %d could not be opened\n", f.opened.Load(), f.maxOpen.Load(), f.unopened.Load())
	fmt.Fprintf(out, "valid:   %d answered 200, %d not; p50 %v, p99 %v, longest %v\n", len(took), len(failed), percentile(took, 50), percentile(took, 99), percentile(took, 100))
	for _, why := range failed[:min(len(failed), 5)] {
		fmt.Fprintln(out, "         ", why)
	}
	return len(failed) == 0 && len(took) > 0 && percentile(took, 100) < procoreTimeout
}

// percentile returns a percentile of sorted durations; 0 if there are none.
func percentile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100].Round(100 * time.Microsecond)
}

// deliver sends valid deliveries, each on a connection of its own.
func (f *flood) deliver(ctx context.Context) (took []time.Duration, failed []string) {
	client := &http.Client{Timeout: 2 * procoreTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	var mu sync.Mutex
	var all sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(f.rate))
	defer tick.Stop()
	first := time.Now().UnixNano()
	for n := range int64(f.length.Seconds() * float64(f.rate)) {
		<-tick.C
		all.Go(func() {
			began := time.Now()
			err := f.send(ctx, client, first+n)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, fmt.Sprintf("after %v: %v", time.Since(began), err))
				return
			}
			took = append(took, time.Since(began))
		})
	}
	all.Wait()
	return took, failed
}

// send sends a valid delivery.
func (f *flood) send(ctx context.Context, client *http.Client, request int64) error {
	body := fmt.Sprintf(`{"id":1,"ulid":"","event_type":"create","resource_name":"ERP Requests","resource_id":%d,"company_id":%s,"timestamp":"2026-11-23T10:00:00Z","metadata":{}}`, request, f.company)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.addr+f.path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+f.token)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%d %s", resp.StatusCode, answer)
	}
	return nil
}

// behavior is what a hostile connection does until it is closed.
type behavior func(ctx context.Context, c net.Conn)

// behaviors returns the kinds of hostile connections.
func (f *flood) behaviors() []behavior {
	head := "POST " + f.path + " HTTP/1.1\r\nHost: x\r\n"
	write := func(text string) behavior {
		raw := []byte(text)
		return func(_ context.Context, c net.Conn) {
			_, err := c.Write(raw)
			for answer := make([]byte, 512); err == nil; { // until ingest closes the connection
				_, err = c.Read(answer)
			}
		}
	}
	drip := func(start, piece string) behavior {
		return func(ctx context.Context, c net.Conn) {
			_, err := io.WriteString(c, start)
			for err == nil && ctx.Err() == nil {
				time.Sleep(200 * time.Millisecond)
				_, err = io.WriteString(c, piece)
			}
		}
	}
	forged := head + "Authorization: Bearer wrong\r\nContent-Length: 2\r\n\r\n{}"
	return []behavior{
		write(""), // idle
		drip(head+"X: ", "x"),
		write(head + "X: " + strings.Repeat("x", 15<<10)), // as much as the server reads, then idle
		write(head + "X: " + strings.Repeat("x", 64<<10)), // more than the server reads
		drip(head+"Content-Length: 100000\r\n\r\n", "{"),
		write("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x7f", 500)), // a TLS ClientHello
		func(ctx context.Context, c net.Conn) { // wrong tokens, as fast as they are answered
			answer := make([]byte, 512)
			for ctx.Err() == nil {
				if _, err := io.WriteString(c, forged); err != nil {
					return
				}
				if _, err := c.Read(answer); err != nil {
					return
				}
			}
		},
	}
}

// attack keeps one hostile connection open, and opens another when it is closed.
func (f *flood) attack(ctx context.Context, behave behavior) {
	for ctx.Err() == nil {
		// Use many source addresses: one has too few ports for so many connections per minute.
		from := &net.TCPAddr{IP: net.IPv4(127, 0, byte(rand.N(16)), byte(2+rand.N(250)))}
		c, err := (&net.Dialer{LocalAddr: from, Timeout: procoreTimeout}).DialContext(ctx, "tcp", f.addr)
		if err != nil {
			f.unopened.Add(1)
			time.Sleep(time.Second)
			continue
		}
		f.opened.Add(1)
		now := f.open.Add(1)
		for most := f.maxOpen.Load(); now > most && !f.maxOpen.CompareAndSwap(most, now); most = f.maxOpen.Load() {
		}
		done := context.AfterFunc(ctx, func() { _ = c.Close() })
		behave(ctx, c)
		done()
		_ = c.Close()
		f.open.Add(-1)
		time.Sleep(rand.N(2 * time.Second))
	}
}
