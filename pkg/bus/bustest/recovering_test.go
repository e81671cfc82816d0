package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/bus"
)

// broker is a broker at a fixed address. It simulates the states that clients see during a slow restart.
type broker struct {
	*testing.T
	port    int
	dir     string
	stop    func()
	options server.Options
}

func newBroker(t *testing.T) *broker {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &broker{T: t, port: l.Addr().(*net.TCPAddr).Port, dir: t.TempDir(), stop: func() { _ = l.Close() }}
	t.Cleanup(func() { o.stop() })
	return o
}

func (o *broker) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", o.port) }

// down stops the broker: no process listens.
func (o *broker) down() {
	o.stop()
	o.stop = func() {}
}

// silent accepts connections and answers nothing, like a proxy in front of a broker that does not listen yet.
func (o *broker) silent() {
	o.Helper()
	o.down()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.port))
	if err != nil {
		o.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var open []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			open = append(open, c)
		}
		for _, c := range open {
			_ = c.Close()
		}
	}()
	o.stop = func() { _ = l.Close(); <-ended }
}

// serve runs a real server, with JetStream or without.
func (o *broker) serve(jetstream bool) {
	o.Helper()
	o.down()
	options := o.options
	options.Host, options.Port, options.JetStream, options.StoreDir, options.NoSigs, options.NoLog = "127.0.0.1", o.port, jetstream, o.dir, true, true
	ns, err := server.NewServer(&options)
	if err != nil {
		o.Fatal(err)
	}
	ns.Start()
	o.stop = func() { ns.Shutdown(); ns.WaitForShutdown() }
	if !ns.ReadyForConnections(10 * time.Second) {
		o.Fatal("the server does not listen")
	}
}

// eventually waits until condition returns true.
func (o *broker) eventually(what string, condition func() bool) {
	o.Helper()
	for end := time.Now().Add(30 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			o.Fatalf("not within 30 s: %s", what)
		}
	}
}

// A client waits for a broker that accepts connections but has no JetStream yet, when it starts and while it runs. The log does
// not blame the settings. Afterwards the client continues.
func TestClientWaitsForRecoveringBroker(t *testing.T) {
	t.Parallel()
	o := newBroker(t)
	core, logs := observer.New(zapcore.InfoLevel)
	logged := func(from int, parts ...string) bool {
		for _, line := range logs.All()[from:] {
			text := fmt.Sprint(line.Message, line.ContextMap())
			found := true
			for _, part := range parts {
				found = found && strings.Contains(text, part)
			}
			if found {
				return true
			}
		}
		return false
	}
	o.silent()
	var reason atomic.Pointer[error]
	type result struct {
		*bus.Bus
		error
	}
	done := make(chan result, 1)
	go func() {
		b, err := bus.Connect(t.Context(), bus.Options{URL: o.url(), Name: "test", Log: zap.New(core), Waiting: func(why error) { reason.Store(&why) }})
		done <- result{b, err}
	}()
	o.eventually("the log says that the connection is accepted", func() bool { return logged(0, "waiting for the broker", "recovering its streams", "accepted") })
	o.serve(false)
	o.eventually("the log says that JetStream does not answer", func() bool {
		return logged(0, "waiting for the broker", "recovering its streams", "JetStream does not answer")
	})
	if why := reason.Load(); why == nil || !errors.Is(*why, bus.ErrRecovering) {
		t.Errorf("the reason for waiting is %v", why)
	}
	o.serve(true)
	got := <-done
	if got.error != nil {
		t.Fatalf("not connected: %v", got.error)
	}
	b := got.Bus
	defer b.Close()
	if err := b.Healthy(); err != nil {
		t.Errorf("not healthy after the start: %v", err)
	}
	var processed atomic.Int64
	working, stop := context.WithCancel(t.Context())
	consumed := make(chan error, 1)
	go func() {
		consumed <- b.Consume(working, bus.Consumer{Kind: bus.Delivery, Name: "test", Handle: func(context.Context, bus.Message) error { processed.Add(1); return nil }})
	}()
	defer func() {
		stop()
		if err := <-consumed; err != nil {
			t.Errorf("the consumer ended with %v", err)
		}
	}()
	for round := range int64(2) {
		before := logs.Len()
		o.down()
		o.eventually("the client is not healthy without a broker", func() bool { return b.Healthy() != nil })
		o.eventually("the log says that the broker is down", func() bool { return logged(before, "recovering its streams, or is stopped") })
		o.serve(false)
		o.eventually("the client is connected, and not healthy while JetStream does not answer", func() bool {
			err := b.Healthy()
			return b.JetStream().Conn().IsConnected() && errors.Is(err, bus.ErrRecovering) && strings.Contains(err.Error(), "JetStream does not answer")
		})
		o.serve(true)
		o.eventually("the client is healthy again", func() bool { return b.Healthy() == nil })
		if !logged(before, "the broker answers") {
			t.Error("the log does not say that the broker answers again")
		}
		if err := b.Publisher(bus.Delivery).Publish(t.Context(), delivery(round+1)); err != nil {
			t.Errorf("publish after restart %d: %v", round+1, err)
		}
		o.eventually("the message is processed", func() bool { return processed.Load() == round+1 })
	}
	if logged(0, "TIEBACK_NATS_URL") {
		t.Errorf("the log blames the settings: %v", logs.All())
	}
}

// The error of a client that stops waiting distinguishes wrong settings from a broker that is recovering.
func TestUnavailableReason(t *testing.T) {
	t.Parallel()
	connectError := func(t *testing.T, url string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		b, err := bus.ConnectReadOnly(ctx, bus.Options{URL: url, Name: "test", Log: zap.NewNop()})
		if err == nil {
			b.Close()
			t.Fatal("the broker answers")
		}
		return err
	}
	for name, c := range map[string]struct {
		state      func(*broker)
		url        string // "": the broker's
		says, not  string
		recovering bool
	}{
		"no process listens":        {state: (*broker).down, says: "no process listens at the address", not: "host name"},
		"unknown name":              {state: (*broker).down, url: "nats://broker.invalid:4222", says: "the host name in TIEBACK_NATS_URL is not known", not: "recover"},
		"login refused":             {state: func(o *broker) { o.options.Authorization = "s3cr3t"; o.serve(true) }, says: "refuses the login", not: "recover"},
		"silent":                    {state: (*broker).silent, says: "recovering", not: "TIEBACK_NATS_URL", recovering: true},
		"JetStream not enabled yet": {state: func(o *broker) { o.serve(false) }, says: "recovering", not: "TIEBACK_NATS_URL", recovering: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newBroker(t)
			c.state(o)
			url := c.url
			if url == "" {
				url = o.url()
			}
			err := connectError(t, url)
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), c.not) || errors.Is(err, bus.ErrRecovering) != c.recovering {
				t.Errorf("the error is %q; want it to contain %q, and not %q", err, c.says, c.not)
			}
		})
	}
}
