package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/bus/topology"
)

// inBatch is the header of a message that was published in a batch.
const inBatch = "Nats-Batch-Id"

// stored returns, by subject, whether a message of the deliveries' stream was published in a batch.
func stored(t *testing.T, js jetstream.JetStream) map[string]bool {
	t.Helper()
	s, err := js.Stream(t.Context(), bus.Delivery.Stream())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		all[m.Subject] = m.Header.Get(inBatch) != ""
	}
	return all
}

// The broker refuses a batch with a message that another process has published. The others are published as a batch again.
func TestDuplicatesDoNotTearBatch(t *testing.T) {
	t.Parallel()
	const before, all = 20, 200
	ns := bustest.Start(t, server.Options{})
	connect := func() *bus.Bus {
		b, err := bus.Connect(t.Context(), bustest.Options(ns))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	publish(t, connect(), before)
	b := connect()
	var sent sync.WaitGroup
	for i := range all {
		sent.Go(func() {
			err := b.Publisher(bus.Delivery).PublishNew(t.Context(), delivery(int64(i+1)))
			if i < before && !errors.Is(err, bus.ErrDuplicate) || i >= before && err != nil {
				t.Errorf("request %d: %v", i+1, err)
			}
		})
	}
	sent.Wait()
	alone := 0
	for subject, batch := range stored(t, b.JetStream()) {
		if s, _ := bus.Parse(subject); s.Request > before && !batch {
			alone++
		}
	}
	// The first commit begins before all are queued, and has few messages.
	if alone > 40 {
		t.Errorf("%d of %d messages were published alone", alone, all-before)
	}
}

// A link that another process has changed does not tear the batch of the others.
func TestConflictDoesNotTearBatch(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	ctx := t.Context()
	if err := b.Bucket().Put(ctx, "k.0", []byte("old")); err != nil {
		t.Fatal(err)
	}
	var sent sync.WaitGroup
	for i := range 100 {
		sent.Go(func() {
			err := b.Bucket().Replace(ctx, fmt.Sprintf("k.%d", i), []byte("new"), 0)
			if i == 0 && !errors.Is(err, bus.ErrDuplicate) || i > 0 && err != nil {
				t.Errorf("key %d: %v", i, err)
			}
		})
	}
	sent.Wait()
	s, err := b.JetStream().Stream(ctx, topology.State.Stream())
	if err != nil {
		t.Fatal(err)
	}
	alone := 0
	for i := range 100 {
		m, err := s.GetLastMsgForSubject(ctx, topology.State.Subject(fmt.Sprintf("k.%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get(inBatch) == "" {
			alone++
		}
	}
	if alone > 40 {
		t.Errorf("%d of 100 messages were published alone", alone)
	}
}

// The model: a publish that begins after a loss and reports success or a duplicate is true: the stream has the message. Between
// two losses a message is accepted once. Publishers repeat messages at random while the broker is restarted, restored from an
// older copy, its stream is deleted and created again, and connections break.
func TestDuplicatesModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { t.Parallel(); duplicatesModel(t, seed) })
	}
}

func duplicatesModel(t *testing.T, seed uint64) {
	const recreated = "the stream is created again"
	rnd := rand.New(rand.NewPCG(seed, 1))
	o := newBroker(t)
	o.serve(true)
	b, err := bus.Connect(t.Context(), bus.Options{URL: o.url(), Name: "test", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	var burst func(n int, count bool)
	var bursts atomic.Uint64
	faults := []struct {
		name  string
		loses bool
		cause func()
	}{
		{"the connection breaks", false, func() { _ = b.JetStream().Conn().ForceReconnect() }},
		{"the broker restarts", false, func() { o.down(); o.serve(true) }},
		{"an older copy is restored", true, func() {
			o.down()
			old := t.TempDir()
			if err := os.CopyFS(old, os.DirFS(o.dir)); err != nil {
				t.Error(err)
			}
			o.serve(true)
			burst(200, false)
			o.down()
			o.dir = old
			o.serve(true)
		}},
		{recreated, true, func() {
			spec := topology.KindStream(bus.Delivery, topology.Config{})
			if err := b.JetStream().DeleteStream(t.Context(), spec.Name); err != nil {
				t.Error(err)
			}
			if _, err := b.JetStream().CreateStream(t.Context(), spec.For(nil)); err != nil {
				t.Error(err)
			}
		}},
	}
	accepted := map[int64]int{} // since the last loss
	for round := range 6 {
		fault := faults[rnd.IntN(len(faults))]
		var mu sync.Mutex
		claimed := map[int64]bool{}
		// burst publishes messages at random. If the stream may lose them meanwhile, nothing is claimed.
		burst = func(n int, count bool) {
			random := rand.New(rand.NewPCG(seed, 1+bursts.Add(1))) // bursts run beside faults, which also draw numbers
			var all sync.WaitGroup
			slots := make(chan struct{}, 48)
			for range n {
				request, fresh, impatient := 1+random.Int64N(150)+50*int64(round), random.IntN(4) > 0, random.IntN(10) == 0
				slots <- struct{}{}
				all.Go(func() {
					defer func() { <-slots }()
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
					if impatient {
						ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
					}
					defer cancel()
					p := b.Publisher(bus.Delivery)
					send := p.Publish
					if fresh {
						send = p.PublishNew
					}
					m := &nats.Msg{Subject: bus.For(bus.Delivery, "", 7, request).String(), Data: []byte("x")}
					err := send(ctx, bus.IfAbsent(m))
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil || errors.Is(err, bus.ErrDuplicate):
						if count {
							claimed[request] = true
						}
						if err == nil && count {
							accepted[request]++
						}
					case !errors.Is(err, context.DeadlineExceeded):
						t.Errorf("round %d, %s: %v", round, fault.name, err)
					}
				})
			}
			all.Wait()
		}
		burst(300, true)
		if fault.loses {
			clear(claimed)
			clear(accepted)
		}
		var faulty sync.WaitGroup
		faulty.Go(func() { burst(300, !fault.loses) })
		time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		fault.cause()
		faulty.Wait()
		if fault.name == recreated { // the next acknowledged message shows that sequences start over
			if err := b.Publisher(bus.Delivery).Publish(t.Context(), delivery(1_000_000+int64(round))); err != nil {
				t.Fatal(err)
			}
		}
		burst(300, true)
		has := stored(t, b.JetStream())
		for request := range claimed {
			if _, ok := has[bus.For(bus.Delivery, "", 7, request).String()]; !ok {
				t.Errorf("round %d, %s: request %d was reported as stored, but the stream lacks it", round, fault.name, request)
			}
		}
		for request, n := range accepted {
			if n > 1 {
				t.Errorf("round %d, %s: request %d was accepted %d times", round, fault.name, request, n)
			}
		}
	}
}

// A purge is not noticed: a copy of a webhook is a duplicate for a minute longer. The sweep, which has looked the message up in the
// stream, publishes it with Publish and is not answered from memory.
func TestPurgedMessageCanBePublished(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	p := b.Publisher(bus.Delivery)
	if err := p.PublishNew(t.Context(), delivery(1)); err != nil {
		t.Fatal(err)
	}
	s, err := b.JetStream().Stream(t.Context(), bus.Delivery.Stream())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.PublishNew(t.Context(), delivery(1)); !errors.Is(err, bus.ErrDuplicate) {
		t.Errorf("the webhook again: %v", err)
	}
	if err := p.Publish(t.Context(), delivery(1)); err != nil {
		t.Errorf("the sweep: %v", err)
	}
}
