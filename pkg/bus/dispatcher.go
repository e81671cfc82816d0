package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus/scheduler"
)

// dispatcher runs a consumer: it pulls messages, queues them in its scheduler, starts handlers, and settles each
// message by the handler's error.
type dispatcher struct {
	Consumer
	bus        *Bus
	handlers   sync.WaitGroup
	roomFreed  chan struct{} // capacity 1; signals that there may be room for more messages
	lookups    chan struct{} // a semaphore for calls of Done before a message is queued
	checked    time.Time     // when the consumer was last looked up; used by pull alone
	mu         sync.Mutex    // guards the fields below
	created    time.Time     // when the durable consumer was created, by the broker's clock
	scheduler  *scheduler.Scheduler[*prefetched]
	inFlight   map[uint64]*prefetched // queued or running, by stream sequence
	unstarted  map[uint64]uint64      // released before any attempt, by sequence: the broker's delivery count at that time
	unfinished []jetstream.Msg        // to be released when the consumer stops
	closed     bool
	wake       *time.Timer // fires when the next pause of a company ends
}

// prefetched is a message that is queued or running.
type prefetched struct {
	jetstream.Msg
	*jetstream.MsgMetadata
	subject     Subject
	malformed   error // why the subject does not parse; nil: it does
	redelivered bool  // an attempt may have begun in an earlier delivery
	running     bool
	extended    time.Time // when the broker's ack wait was last restarted
	result      scheduler.Result
}

func (h *prefetched) sequence() uint64 { return h.Sequence.Stream }

func newDispatcher(b *Bus, c Consumer) *dispatcher {
	return &dispatcher{
		Consumer: c, bus: b, roomFreed: make(chan struct{}, 1), lookups: make(chan struct{}, pullMost), inFlight: map[uint64]*prefetched{}, unstarted: map[uint64]uint64{},
		scheduler: scheduler.New[*prefetched](scheduler.Limits{Running: c.Concurrency, Queued: c.Prefetch, Bytes: prefetchBytes}),
	}
}

const (
	// pullWait is how long a pull stays open. Stopping waits for it.
	pullWait = time.Second
	// pullMost is the largest number of messages of one pull.
	pullMost = 256
)

// pull pulls messages while a worker is free, even if the queues are full: behind the messages of a company that has
// used its share, there may be messages of other companies. It returns nil when ctx ends, and an error if the consumer or its stream
// does not exist any more.
func (r *dispatcher) pull(ctx context.Context, cons jetstream.Consumer) error {
	for {
		n := r.waitForRoom(ctx)
		if n == 0 {
			return nil
		}
		r.bus.pulls.RLock()
		batch, err := cons.Fetch(n, jetstream.FetchMaxWait(pullWait))
		if err == nil {
			for m := range batch.Messages() {
				r.receive(ctx, m)
			}
			err = batch.Error()
		}
		r.bus.pulls.RUnlock()
		if err := r.checkPull(ctx, cons, err); err != nil {
			return err
		}
	}
}

// waitForRoom waits until messages are wanted and returns how many to pull; 0: ctx ended.
func (r *dispatcher) waitForRoom(ctx context.Context) int {
	for ctx.Err() == nil {
		r.mu.Lock()
		n := min(r.scheduler.Wanted(), pullMost)
		r.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-ctx.Done():
		case <-r.roomFreed:
		}
	}
	return 0
}

// checkPull handles the error of a pull. It returns an error if the consumer or its stream does not exist any more, and
// waits after any other error. A pull of a deleted consumer may just time out, so the consumer is also looked up every
// 5 seconds while pulls stay empty.
func (r *dispatcher) checkPull(ctx context.Context, cons jetstream.Consumer, err error) error {
	quiet := err == nil || errors.Is(err, nats.ErrTimeout)
	if ctx.Err() != nil || quiet && time.Since(r.checked) < 5*time.Second {
		return nil
	}
	r.checked = time.Now()
	info, gone := infoOf(ctx, cons)
	if gone == nil {
		r.mu.Lock()
		r.created = info.Created // it may have been deleted and created again between two pulls
		r.mu.Unlock()
	}
	if errors.Is(gone, jetstream.ErrConsumerNotFound) || errors.Is(gone, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("consumer %s of %s: %w", r.Name, r.Kind.Stream(), gone)
	}
	if quiet {
		return nil
	}
	r.bus.log.Warn("could not pull messages from the broker, retrying", zap.String("consumer", r.Name), zap.Error(err))
	select {
	case <-ctx.Done():
	case <-time.After(pullWait):
	}
	return nil
}

// receive queues a message, or releases it if its company's queue is full, and starts the messages that may start. A message that
// is older than its consumer is acked if Done says so. A second copy of a message that is in flight is dropped: the
// result of the first one settles both.
func (r *dispatcher) receive(ctx context.Context, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return // not from a stream
	}
	h := &prefetched{Msg: m, MsgMetadata: meta, extended: time.Now()}
	if h.subject, h.malformed = Parse(m.Subject()); h.malformed != nil {
		company, request := requestOf(m.Subject())
		h.subject = For(r.Kind, "", company, request)
	}
	if r.Done == nil || h.malformed != nil || !r.predatesConsumer(h.Timestamp) {
		r.enqueueOrRelease(ctx, h)
		return
	}
	r.lookups <- struct{}{}
	r.handlers.Go(func() {
		defer func() { <-r.lookups }()
		if done, err := r.Done(ctx, h.message()); done && err == nil {
			_ = m.Ack() // if it is lost, the message is redelivered after the ack wait
			return
		}
		r.enqueueOrRelease(ctx, h)
	})
}

// enqueueOrRelease queues a message, or returns it to the broker for a later redelivery.
func (r *dispatcher) enqueueOrRelease(ctx context.Context, h *prefetched) {
	if delay, queued := r.enqueue(ctx, h); !queued {
		_ = h.NakWithDelay(delay) // if it is lost, the message is redelivered after the ack wait
	}
}

// predatesConsumer reports whether a message was stored before its consumer was created.
func (r *dispatcher) predatesConsumer(stored time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return stored.Before(r.created)
}

// enqueue queues a message and starts the messages that may start. If there is no room it returns false and the delay after which
// the message should be redelivered.
func (r *dispatcher) enqueue(ctx context.Context, h *prefetched) (delay time.Duration, queued bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seq := h.sequence()
	if twice := r.inFlight[seq]; twice != nil {
		if !twice.running {
			twice.redelivered = true // another process may have had it in between
			twice.Msg, twice.MsgMetadata, twice.extended = h.Msg, h.MsgMetadata, h.extended
		}
		return 0, true
	}
	if ctx.Err() != nil {
		r.unfinished = append(r.unfinished, h)
		return 0, true
	}
	h.redelivered = h.NumDelivered > 1 && r.unstarted[seq] != h.NumDelivered-1
	delete(r.unstarted, seq)
	delay, queued = r.scheduler.Add(h.subject.Company, h, len(h.Data()), h.extended)
	if !queued {
		r.recordUnstarted(h)
		return delay, false
	}
	r.inFlight[seq] = h
	r.startReady(ctx)
	return 0, true
}

// maxUnstarted bounds unstarted to about 50 MB. If a record is dropped, one unfinished attempt too many is counted for
// its message. That is harmless: a crash does the same to every message in flight.
const maxUnstarted = 1_000_000

// recordUnstarted records that a message is released without an attempt. Other processes do not know it.
func (r *dispatcher) recordUnstarted(h *prefetched) {
	if h.redelivered {
		return
	}
	if len(r.unstarted) >= maxUnstarted {
		clear(r.unstarted)
	}
	r.unstarted[h.sequence()] = h.NumDelivered
}

// startReady starts a handler for each message that the scheduler lets start. The caller holds mu.
func (r *dispatcher) startReady(ctx context.Context) {
	if r.closed || ctx.Err() != nil {
		return
	}
	now := time.Now()
	r.scheduler.Pause(r.Paused, now)
	for h, ok := r.scheduler.Next(now); ok; h, ok = r.scheduler.Next(now) {
		h.running = true
		r.handlers.Go(func() {
			defer r.finish(ctx, h)
			r.work(ctx, h)
		})
	}
	if at := r.scheduler.NextWake(now); !at.IsZero() {
		r.wakeAt(ctx, at.Sub(now))
	}
}

// wakeAt calls startReady after d. It replaces the timer set before.
func (r *dispatcher) wakeAt(ctx context.Context, d time.Duration) {
	if r.wake != nil {
		r.wake.Stop()
	}
	r.wake = time.AfterFunc(d, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.startReady(ctx)
	})
}

// finish removes a message that was settled and starts the next.
func (r *dispatcher) finish(ctx context.Context, h *prefetched) {
	r.mu.Lock()
	delete(r.inFlight, h.sequence())
	r.scheduler.Finish(h.subject.Company, h.sequence(), h.result, time.Now())
	r.startReady(ctx)
	r.mu.Unlock()
	select {
	case r.roomFreed <- struct{}{}:
	default:
	}
}

// close prevents handlers from starting.
func (r *dispatcher) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.wake != nil {
		r.wake.Stop()
	}
}

// extendAckWait restarts the broker's ack wait of all messages in flight, until ctx ends.
func (r *dispatcher) extendAckWait(ctx context.Context) {
	tick := time.NewTicker(r.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, m := range r.dueForExtension(time.Now()) {
			_ = m.InProgress() // if it is lost, the message is delivered twice, which is harmless
		}
	}
}

// dueForExtension returns the messages in flight whose ack wait was not restarted for a while. Most messages are settled
// before they need an extension.
func (r *dispatcher) dueForExtension(now time.Time) []jetstream.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	var due []jetstream.Msg
	for _, h := range r.inFlight {
		if now.Sub(h.extended) > r.AckWait/4 {
			h.extended = now
			due = append(due, h.Msg)
		}
	}
	return due
}

// keepUnfinished keeps a message for release.
func (r *dispatcher) keepUnfinished(h *prefetched) {
	r.mu.Lock()
	r.unfinished = append(r.unfinished, h)
	r.mu.Unlock()
}

// release returns all unfinished messages to the broker. Call it only after pull has returned: otherwise pull could
// receive them again.
func (r *dispatcher) release() {
	for _, h := range r.inFlight {
		r.unfinished = append(r.unfinished, h)
	}
	for _, m := range r.unfinished {
		_ = m.Nak() // if it is lost, the message is redelivered after the ack wait
	}
}
