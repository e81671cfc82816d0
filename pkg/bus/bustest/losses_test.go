package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/state"
)

// disk is the data folder of a broker that is stopped, damaged and started again.
type disk struct {
	*testing.T
	dir string
}

// run starts the broker, calls f, and stops the broker.
func (d disk) run(f func(b *bus.Bus)) {
	d.Helper()
	ns := bustest.Start(d.T, server.Options{StoreDir: d.dir})
	defer bustest.Stop(ns)
	b, err := bus.Connect(d.Context(), bustest.Options(ns))
	if err != nil {
		d.Fatal(err)
	}
	defer b.Close()
	f(b)
}

// lost scans all streams and returns the losses by stream. It records the watermarks.
func lost(t *testing.T, b *bus.Bus) map[string]uint64 {
	t.Helper()
	gaps, err := b.Gaps(t.Context(), bus.Kinds...)
	if err != nil {
		t.Fatal(err)
	}
	all, err := b.RecordWatermarks(t.Context(), gaps...)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]uint64{}
	for _, l := range all {
		t.Log(l)
		found[l.Stream] = l.Missing
	}
	return found
}

func fill(t *testing.T, b *bus.Bus, from, to int64) {
	t.Helper()
	for n := from; n <= to; n++ {
		if err := b.Publisher(bus.Delivery).Publish(t.Context(), delivery(n)); err != nil {
			t.Fatal(err)
		}
		storeDeadLetter(t, b, n, true)
		if err := state.Of(b).SaveCursor(t.Context(), n, "VENDOR", fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	deliveries, deadStream, stateStream = "TIEBACK_DELIVERY", "TIEBACK_DEAD", "KV_tieback-state"
	many                                = 106
)

// A flipped byte in a stream's file can lose many messages, here 64 of 106 dead letters. The loss is detected.
func TestLossIsDetected(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stream  string
		crashed bool // the broker detects the damage when it starts; false: only a read detects it
	}{{deadStream, true}, {deadStream, false}, {deliveries, true}, {deliveries, false}, {stateStream, true}} {
		t.Run(fmt.Sprintf("%s/crashed=%v", c.stream, c.crashed), func(t *testing.T) {
			t.Parallel()
			stream, crashed := c.stream, c.crashed
			d := disk{t, t.TempDir()}
			d.run(func(b *bus.Bus) {
				fill(t, b, 1, many)
				if all := lost(t, b); len(all) > 0 {
					t.Errorf("before the damage: %v", all)
				}
			})
			bustest.Flip(t, d.dir, stream, 0.4, crashed)
			var first uint64
			d.run(func(b *bus.Bus) {
				all := lost(t, b)
				if first = all[stream]; first == 0 || len(all) > 1 {
					t.Errorf("after the damage: %v", all)
				}
				if stream == deadStream && crashed && first != 64 {
					t.Errorf("%d messages are missing, want 64", first)
				}
			})
			d.run(func(b *bus.Bus) { // the sequences are reused
				fill(t, b, many+1, 3*many)
				if all := lost(t, b); all[stream] != first || len(all) > 1 {
					t.Errorf("after more messages: %v, want %d", all, first)
				}
				gaps, err := b.Gaps(t.Context(), bus.Kinds...)
				if err != nil {
					t.Fatal(err)
				}
				accepted, err := b.AcceptLosses(t.Context(), "test", "restored", gaps...)
				if err != nil {
					t.Fatal(err)
				}
				t.Log(accepted)
				if all := lost(t, b); len(all) > 0 {
					t.Errorf("after the losses were accepted: %v", all)
				}
			})
			d.run(func(b *bus.Bus) {
				if all := lost(t, b); len(all) > 0 {
					t.Errorf("after the losses were accepted and the broker restarted: %v", all)
				}
			})
		})
	}
}

// Normal operation is not reported as a loss: refused and duplicate messages, split batches, expiry.
func TestNormalOperationIsNoLoss(t *testing.T) {
	t.Parallel()
	o := bustest.Options(bustest.Start(t, server.Options{}))
	o.Retention.Delivery = 2 * time.Second
	setUp(t, o)
	b, err := bus.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	remover := b.NewRemover()
	for round := range int64(4) {
		var all sync.WaitGroup
		for n := range int64(300) { // each twice, and half of them again in the next round
			for range 2 {
				all.Go(func() {
					err := b.Publisher(bus.Delivery).Publish(t.Context(), delivery(round*150+n))
					if err != nil && !errors.Is(err, bus.ErrDuplicate) {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
		consume(t, b, bus.Consumer{Kind: bus.Delivery, Name: "fetcher", Handle: func(context.Context, bus.Message) error { return nil }}, func() bool { return unfinished(t, b, bus.Delivery, "fetcher") == 0 })
		if _, err := remover.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if found := lost(t, b); len(found) > 0 {
			t.Fatalf("round %d: %v", round, found)
		}
		time.Sleep(700 * time.Millisecond)
	}
	s, err := b.JetStream().Stream(t.Context(), deliveries)
	if err != nil {
		t.Fatal(err)
	}
	if first := s.CachedInfo().State.FirstSeq; first == 1 {
		t.Error("no message was removed")
	}
}

// A purged dead letter, a stream that was created again, and a message that is gone before its retention ends are losses.
func TestManualDeletionIsLoss(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	fill(t, b, 1, 10)
	if found := lost(t, b); len(found) > 0 {
		t.Fatal(found)
	}
	js := b.JetStream()
	letters, err := js.Stream(t.Context(), deadStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := letters.DeleteMsg(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	early, err := js.Stream(t.Context(), deliveries)
	if err != nil {
		t.Fatal(err)
	}
	if err := early.Purge(t.Context(), jetstream.WithPurgeSequence(4)); err != nil {
		t.Fatal(err)
	}
	if found := lost(t, b); found[deadStream] != 1 || found[deliveries] != 3 || len(found) != 2 {
		t.Errorf("%v", found)
	}
	cfg := letters.CachedInfo().Config
	if err := js.DeleteStream(t.Context(), deadStream); err != nil {
		t.Fatal(err)
	}
	if found, err := b.Losses(t.Context()); err != nil || len(found) != 2 || found[1].Missing != 10 {
		t.Errorf("without the stream: %v, %v", found, err)
	}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	fill(t, b, 11, 30)
	for range 2 { // it is reported again
		if found := lost(t, b); found[deadStream] != 10 || found[deliveries] != 3 || len(found) != 2 {
			t.Errorf("created again: %v", found)
		}
	}
}
