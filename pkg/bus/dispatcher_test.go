package bus

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// receivedAt returns the first message of a request, received at a time.
func receivedAt(received time.Time, request int64, deliveries uint64) *prefetched {
	meta := &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Stream: uint64(request)}, NumDelivered: deliveries, Timestamp: received}
	return &prefetched{Msg: &delivered{back: -1}, MsgMetadata: meta, subject: For(Delivery, "", 7, request), extended: received}
}

// hanging returns a dispatcher whose handlers run until their context ends. One company may use one handler.
func hanging(t *testing.T) *dispatcher {
	m := &memory{note: "{}"}
	b := &Bus{log: zap.NewNop(), bucket: &Bucket{stream: reads{memory: m}, publisher: newPublisher(writes{memory: m}, reads{memory: m}, &requests{})}}
	t.Cleanup(b.bucket.publisher.close)
	c := Consumer{Name: "test", Kind: Delivery, AckWait: defaultAckWait, Concurrency: 2, Handle: func(ctx context.Context, _ Message) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	c.defaults()
	d := newDispatcher(b, c)
	t.Cleanup(d.handlers.Wait)
	return d
}

// The ack wait of messages in flight is restarted so early that a process may stall for nearly half of it.
func TestAckWaitIsExtendedEarly(t *testing.T) {
	d := hanging(t)
	for offset := range 10 { // when a message is received, relative to the ticks
		start := time.Now()
		received := start.Add(extendEvery(d.AckWait) * time.Duration(offset) / 10)
		d.inFlight = map[uint64]*prefetched{1: receivedAt(received, 1, 1)}
		last, longest := received, time.Duration(0)
		for now := start; now.Before(start.Add(10 * d.AckWait)); now = now.Add(extendEvery(d.AckWait)) {
			if len(d.dueForExtension(now)) > 0 {
				longest, last = max(longest, now.Sub(last)), now
			}
		}
		if longest > d.AckWait/2 || longest == 0 {
			t.Errorf("extended after %v of %v", longest, d.AckWait)
		}
	}
	if extendEvery(time.Hour) != extendEvery(defaultAckWait) {
		t.Error("with a long ack wait messages are extended so rarely that it can't be shortened while processes run")
	}
}

// A process that stalls for longer than the ack wait does not start the messages that it had queued: the broker has delivered them
// again, perhaps to another process. It continues the attempts that it had started.
func TestQueuedMessageLapses(t *testing.T) {
	for name, resume := range map[string]func(*dispatcher, time.Time){
		"the extension resumes first": func(d *dispatcher, now time.Time) { d.dueForExtension(now) },
		"a handler is free first":     func(*dispatcher, time.Time) {},
	} {
		t.Run(name, func(t *testing.T) {
			d := hanging(t)
			ctx, stop := context.WithCancel(t.Context())
			t.Cleanup(stop)
			before := time.Now().Add(-d.AckWait - time.Second) // the process stalls from here to now
			running := receivedAt(time.Now(), 1, 1)
			d.enqueue(ctx, running)
			queued := receivedAt(before, 2, 1)
			d.enqueue(ctx, queued)
			if len(d.inFlight) != 2 || !running.running || queued.running {
				t.Fatalf("%d in flight; want one running, one queued", len(d.inFlight))
			}
			running.extended = before
			resume(d, time.Now())
			d.mu.Lock()
			d.scheduler.Finish(7, 1, running.result, time.Now()) // the handler is free
			d.startReady(ctx)
			d.mu.Unlock()
			if d.inFlight[1] != running {
				t.Error("the attempt that had started was dropped")
			}
			if queued.running || d.inFlight[2] != nil {
				t.Error("the queued message was started although its ack wait had ended")
			}
			again := receivedAt(time.Now(), 2, 2) // the broker delivers it here
			d.enqueue(ctx, again)
			if d.inFlight[2] != again || !again.redelivered {
				t.Errorf("the message that was delivered again is not in flight: %+v", d.inFlight[2])
			}
		})
	}
}
