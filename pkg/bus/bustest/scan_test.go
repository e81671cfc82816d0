package bustest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/state"
)

// A scan reads the messages that were stored when it began, and creates no consumer.
func TestScan(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	publish(t, b, 1200)
	seen := map[uint64]bool{}
	err := b.Scan(t.Context(), bus.Scan{Kind: bus.Delivery}, func(m bus.Message) error {
		if len(seen) == 0 {
			_ = b.Publisher(bus.Delivery).Publish(t.Context(), delivery(5000)) // stored after the scan began
		}
		seen[m.Sequence] = true
		return nil
	})
	if err != nil || len(seen) != 1200 {
		t.Errorf("%d messages, %v", len(seen), err)
	}
	scanned := 0
	err = b.Scan(t.Context(), bus.Scan{Kind: bus.Delivery, After: 1000}, func(bus.Message) error {
		if scanned++; scanned == 3 {
			return bus.ErrStopScan
		}
		return nil
	})
	if err != nil || scanned != 3 {
		t.Errorf("%d messages, %v", scanned, err)
	}
	s, err := b.JetStream().Stream(t.Context(), bus.Delivery.Stream())
	if err != nil {
		t.Fatal(err)
	}
	for c := range s.ListConsumers(t.Context()).Info() {
		t.Errorf("consumer %s is left", c.Name)
	}
}

// A scan ends with an error if the broker stops during it. Found by chaos (seed 18): such a scan never returned, nor did its sweep.
func TestScanEndsIfBrokerStops(t *testing.T) {
	t.Parallel()
	ns := bustest.Start(t, server.Options{})
	b, err := bus.Connect(t.Context(), bustest.Options(ns))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	publish(t, b, 1200)
	ended := make(chan error, 1)
	stop := sync.OnceFunc(func() { bustest.Stop(ns) })
	go func() {
		ended <- b.Scan(t.Context(), bus.Scan{Kind: bus.Delivery}, func(bus.Message) error { stop(); return nil })
	}()
	select {
	case err := <-ended:
		if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(90 * time.Second):
		t.Error("still waiting")
	}
}

// The client ends a batch without an error if the reply is lost. Read must not take that for the end of the stream.
func TestLostReplyIsNotEndOfStream(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	publish(t, b, 3)
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	next, err := b.Read(late, bus.Delivery, 1, time.Now(), func(bus.Message) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) || next != 1 {
		t.Errorf("read up to %d, %v; want an error", next, err)
	}
}

// A request ends after AnswerTimeout, even if the caller's deadline is hours away. Found by chaos (seed 12): nats.go applies its
// own timeout only to contexts without a deadline, so one lost reply blocked a sweep for two hours.
func TestLostReplyEndsAtAnswerTimeout(t *testing.T) {
	t.Parallel()
	ns := bustest.Start(t, server.Options{})
	b, err := bus.Connect(t.Context(), bustest.Options(ns))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	bustest.Stop(ns)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
	defer cancel()
	var all sync.WaitGroup
	for name, call := range map[string]func() error{
		"retention": func() error { _, err := b.Retention(ctx, bus.Event); return err },
		"last":      func() error { _, _, err := b.Last(ctx, bus.For(bus.Event, "create_vendor", 7, 9)); return err },
		"ack floor": func() error { _, err := b.AckFloor(ctx, bus.Event, "export"); return err },
		"state":     func() error { _, err := state.Of(b).SweepCheckpoint(ctx, 7); return err },
		"read": func() error {
			_, err := b.Read(ctx, bus.Event, 1, time.Now(), func(bus.Message) error { return nil })
			return err
		},
		"scan": func() error { return b.Scan(ctx, bus.Scan{Kind: bus.Event}, func(bus.Message) error { return nil }) },
	} {
		all.Go(func() {
			answered := make(chan error, 1)
			go func() { answered <- call() }()
			select {
			case err := <-answered:
				if err == nil {
					t.Errorf("%s: no broker, and no error", name)
				}
			case <-time.After(time.Minute):
				t.Errorf("%s: still waiting", name)
			}
		})
	}
	all.Wait()
}
