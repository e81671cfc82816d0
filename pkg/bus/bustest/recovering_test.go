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

// outside is a broker at a fixed address. It simulates the states that clients see during a slow restart.
type outside struct {
	*testing.T
	port    int
	dir     string
	stop    func()
	options server.Options
}

func newOutside(t *testing.T) *outside {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &outside{T: t, port: l.Addr().(*net.TCPAddr).Port, dir: t.TempDir(), stop: func() { _ = l.Close() }}
	t.Cleanup(func() { o.stop() })
	return o
}

func (o *outside) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", o.port) }

// away stops the broker: no process listens.
func (o *outside) away() {
	o.stop()
	o.stop = func() {}
}

// silent accepts connections and answers nothing, as a proxy before a broker that does not listen yet.
func (o *outside) silent() {
	o.Helper()
	o.away()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.port))
	if err != nil {
		o.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var held []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			held = append(held, c)
		}
		for _, c := range held {
			_ = c.Close()
		}
	}()
	o.stop = func() { _ = l.Close(); <-ended }
}

// serves runs a real server, with JetStream or without.
func (o *outside) serves(jetstream bool) {
	o.Helper()
	o.away()
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

// eventually waits until is holds.
func (o *outside) eventually(what string, is func() bool) {
	o.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			o.Fatalf("not within 30 s: %s", what)
		}
	}
}

// A client waits for a broker that accepts connections but has no JetStream yet, when it starts and while it runs. The log does
// not blame the settings. Afterwards the client continues.
func TestClientWaitsForRecoveringBroker(t *testing.T) {
	t.Parallel()
	o := newOutside(t)
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
	type connected struct {
		*bus.Bus
		error
	}
	done := make(chan connected, 1)
	go func() {
		b, err := bus.Connect(t.Context(), bus.Options{URL: o.url(), Name: "test", Log: zap.New(core), Waiting: func(why error) { reason.Store(&why) }})
		done <- connected{b, err}
	}()
	o.eventually("the log says that the connection is accepted", func() bool { return logged(0, "waiting for the broker", "recovering its streams", "accepted") })
	o.serves(false)
	o.eventually("the log says that JetStream does not answer", func() bool {
		return logged(0, "waiting for the broker", "recovering its streams", "JetStream does not answer")
	})
	if why := reason.Load(); why == nil || !errors.Is(*why, bus.ErrRecovering) {
		t.Errorf("the reason for waiting is %v", why)
	}
	o.serves(true)
	got := <-done
	if got.error != nil {
		t.Fatalf("not connected: %v", got.error)
	}
	b := got.Bus
	defer b.Close()
	if err := b.Healthy(); err != nil {
		t.Errorf("not healthy after the start: %v", err)
	}
	var worked atomic.Int64
	working, stop := context.WithCancel(t.Context())
	consumed := make(chan error, 1)
	go func() {
		consumed <- b.Consume(working, bus.Consumer{Kind: bus.Delivery, Name: "test", Handle: func(context.Context, bus.Message) error { worked.Add(1); return nil }})
	}()
	defer func() {
		stop()
		if err := <-consumed; err != nil {
			t.Errorf("the consumer ended with %v", err)
		}
	}()
	for round := range int64(2) {
		begun := logs.Len()
		o.away()
		o.eventually("it is not ready without a broker", func() bool { return b.Healthy() != nil })
		o.eventually("the log says that the broker is away", func() bool { return logged(begun, "recovering its streams, or is stopped") })
		o.serves(false)
		o.eventually("it is connected, and not ready while JetStream does not answer", func() bool {
			err := b.Healthy()
			return b.JetStream().Conn().IsConnected() && errors.Is(err, bus.ErrRecovering) && strings.Contains(err.Error(), "JetStream does not answer")
		})
		o.serves(true)
		o.eventually("it is ready by itself", func() bool { return b.Healthy() == nil })
		if !logged(begun, "the broker answers") {
			t.Error("the log does not say that the broker answers again")
		}
		if err := b.Publisher(bus.Delivery).Publish(t.Context(), delivery(round+1)); err != nil {
			t.Errorf("publish after restart %d: %v", round+1, err)
		}
		o.eventually("the message is worked", func() bool { return worked.Load() == round+1 })
	}
	if logged(0, "TIEBACK_NATS_URL") {
		t.Errorf("the log blames the settings: %v", logs.All())
	}
}

// The error of a client that stops waiting distinguishes wrong settings from a broker that is recovering.
func TestUnavailableReason(t *testing.T) {
	t.Parallel()
	look := func(t *testing.T, url string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		b, err := bus.ConnectReadOnly(ctx, bus.Options{URL: url, Name: "test", Log: zap.NewNop()})
		if err == nil {
			b.Close()
			t.Fatal("it answers")
		}
		return err
	}
	for name, c := range map[string]struct {
		broker     func(*outside)
		url        string // "": the broker's
		says, not  string
		recovering bool
	}{
		"nothing listens":    {broker: (*outside).away, says: "no process listens there", not: "host name"},
		"unknown name":       {broker: (*outside).away, url: "nats://broker.invalid:4222", says: "the host name in TIEBACK_NATS_URL is not known", not: "recover"},
		"login refused":      {broker: func(o *outside) { o.options.Authorization = "s3cr3t"; o.serves(true) }, says: "refuses the login", not: "recover"},
		"silent":             {broker: (*outside).silent, says: "recovering", not: "TIEBACK_NATS_URL", recovering: true},
		"JetStream is later": {broker: func(o *outside) { o.serves(false) }, says: "recovering", not: "TIEBACK_NATS_URL", recovering: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOutside(t)
			c.broker(o)
			url := c.url
			if url == "" {
				url = o.url()
			}
			err := look(t, url)
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), c.not) || errors.Is(err, bus.ErrRecovering) != c.recovering {
				t.Errorf("the error is %q; want %q, not %q", err, c.says, c.not)
			}
		})
	}
}
