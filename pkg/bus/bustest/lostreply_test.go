package bustest_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
)

// swallow is a proxy in front of a broker. While deaf is true, what the broker sends is dropped.
type swallow struct {
	net.Listener
	deaf atomic.Bool
	mu   sync.Mutex
	open []net.Conn
	all  sync.WaitGroup
}

func newSwallow(t *testing.T, broker string) *swallow {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &swallow{Listener: l}
	p.all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", broker)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, client, server)
			p.mu.Unlock()
			p.all.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
			p.all.Go(func() { _, _ = io.Copy(client, hearing{server, p}); _ = client.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); p.hangUp(); p.all.Wait() })
	return p
}

// hearing reads from the broker, and drops it while the proxy is deaf.
type hearing struct {
	net.Conn
	*swallow
}

func (h hearing) Read(b []byte) (int, error) {
	for {
		n, err := h.Conn.Read(b)
		if err != nil || !h.deaf.Load() {
			return n, err
		}
	}
}

// hangUp closes all connections.
func (p *swallow) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

// A request whose reply is lost with the connection is repeated or ended as soon as the connection is lost: nats.go would let it
// wait for another five seconds.
func TestRequestsEndWithConnection(t *testing.T) {
	t.Parallel()
	ns := bustest.Start(t, server.Options{Port: -1})
	p := newSwallow(t, ns.Addr().String())
	b, err := bus.Connect(t.Context(), bus.Options{URL: "nats://" + p.Addr().String(), Name: "test", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	p.deaf.Store(true)
	type result struct {
		what string
		err  error
	}
	results := make(chan result)
	waiting := map[string]func() error{
		"publish": func() error { return b.Publisher(bus.Delivery).Publish(t.Context(), delivery(1)) },
		"last":    func() error { _, _, err := b.Last(t.Context(), bus.For(bus.Delivery, "", 7, 1)); return err },
		"state":   func() error { _, err := b.Bucket().Get(t.Context(), "k"); return err },
	}
	for what, call := range waiting {
		go func() { results <- result{what, call()} }()
	}
	var batch sync.WaitGroup
	for i := range 100 {
		batch.Go(func() {
			if err := b.Publisher(bus.Event).Publish(t.Context(), bus.IfAbsent(&nats.Msg{Subject: bus.For(bus.Event, "create_vendor", 7, int64(i+1)).String()})); err != nil && !errors.Is(err, bus.ErrDuplicate) {
				t.Errorf("event %d: %v", i, err)
			}
		})
	}
	time.Sleep(200 * time.Millisecond) // all wait for a reply
	p.deaf.Store(false)
	lost := time.Now()
	p.hangUp()
	for range waiting {
		r := <-results
		if r.what == "publish" && r.err != nil && !errors.Is(r.err, bus.ErrDuplicate) || r.what != "publish" && r.err == nil {
			t.Errorf("%s: %v", r.what, r.err)
		}
	}
	batch.Wait()
	if took := time.Since(lost); took > 4*time.Second {
		t.Errorf("the requests ended %v after the connection was lost", took)
	}
}
