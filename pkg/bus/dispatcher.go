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
)

// running is a consumer at work: what it has in hand, from the pull to the verdict.
type dispatcher struct {
	Consumer
	bus        *Bus
	handlers   sync.WaitGroup
	roomFreed  chan struct{} // holds one when there may be room for more
	lookups    chan struct{} // holds one for each message that Done is asked of before it has a lane
	checked    time.Time     // when it was last asked whether the consumer is there; of pull alone
	mu         sync.Mutex    // guards all below
	created    time.Time     // the durable consumer, by the broker's clock
	scheduler  *scheduler
	inFlight   map[uint64]*prefetched // by stream sequence
	unstarted  map[uint64]uint64      // handed back before any attempt: the broker's count of deliveries then
	unfinished []jetstream.Msg        // not finished when ctx ended
	closed     bool
	wake       *time.Timer // for the next company that waits out a throttle
}

// held is a message in hand.
type prefetched struct {
	jetstream.Msg
	*jetstream.MsgMetadata
	subject     Subject
	malformed   error // the subject does not parse
	redelivered bool  // in an earlier delivery, as far as is known
	running     bool
	extended    time.Time // when the broker last heard that it is in hand
	result      result
	queue       *tenantQueue
	size        int
}

func (h *prefetched) sequence() uint64 { return h.Sequence.Stream }

func newDispatcher(b *Bus, c Consumer) *dispatcher {
	return &dispatcher{
		Consumer: c, bus: b, roomFreed: make(chan struct{}, 1), lookups: make(chan struct{}, pullMost), inFlight: map[uint64]*prefetched{}, unstarted: map[uint64]uint64{},
		scheduler: &scheduler{concurrency: c.Concurrency, maxQueued: c.Prefetch, maxBytes: prefetchBytes, tenants: map[int64]*tenantQueue{}},
	}
}

const (
	// pullWait bounds how long a pull stays open; a stop waits for it.
	pullWait = time.Second
	pullMost = 256
)

// pull asks for messages as long as a slot is free: where all in hand are of companies that
// have their share, those behind them may be of others.
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

// room waits until a pull is worth it and says for how many; 0: ctx ended.
func (r *dispatcher) waitForRoom(ctx context.Context) int {
	for ctx.Err() == nil {
		r.mu.Lock()
		n := min(r.scheduler.wanted(), pullMost)
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

// pulled looks at how a pull ended: that the consumer or its stream is gone ends it, anything else is waited
// out. A pull that only ran out of time may not have been heard by anybody, so that now and
// then the consumer is asked for all the same.
func (r *dispatcher) checkPull(ctx context.Context, cons jetstream.Consumer, err error) error {
	quiet := err == nil || errors.Is(err, nats.ErrTimeout)
	if ctx.Err() != nil || quiet && time.Since(r.checked) < 5*time.Second {
		return nil
	}
	r.checked = time.Now()
	info, gone := infoOf(ctx, cons)
	if gone == nil {
		r.mu.Lock()
		r.created = info.Created // it may have been deleted and made anew between two pulls
		r.mu.Unlock()
	}
	if errors.Is(gone, jetstream.ErrConsumerNotFound) || errors.Is(gone, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("consumer %s of %s: %w", r.Name, r.Kind.Stream(), gone)
	}
	if quiet {
		return nil
	}
	r.bus.log.Warn("no messages from the broker, asking again", zap.String("consumer", r.Name), zap.Error(err))
	select {
	case <-ctx.Done():
	case <-time.After(pullWait):
	}
	return nil
}

// take puts a message into its company's lane, or hands it back where that is full, and
// starts whoever may. A second copy of a message that is in hand is left alone: the first
// one's verdict holds for both.
func (r *dispatcher) receive(ctx context.Context, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return // not from a stream: nobody waits for it
	}
	h := &prefetched{Msg: m, MsgMetadata: meta, extended: time.Now(), size: len(m.Data())}
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
			_ = m.Ack() // lost: it comes back after the ack wait
			return
		}
		r.enqueueOrRelease(ctx, h)
	})
}

// settleIn gives a message a place in its company's lane, or hands it back.
func (r *dispatcher) enqueueOrRelease(ctx context.Context, h *prefetched) {
	if later, kept := r.enqueue(ctx, h); !kept {
		_ = h.NakWithDelay(later) // lost: it comes back after the ack wait
	}
}

// older says whether a message was stored before its consumer was made.
func (r *dispatcher) predatesConsumer(stored time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return stored.Before(r.created)
}

// keep is take without a word to the broker.
func (r *dispatcher) enqueue(ctx context.Context, h *prefetched) (later time.Duration, kept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seq := h.sequence()
	if twice := r.inFlight[seq]; twice != nil {
		if !twice.running {
			twice.redelivered = true // by whoever else it was given to, for all we know
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
	later, kept = r.scheduler.add(h, h.subject.Company, h.extended)
	if !kept {
		r.recordUnstarted(h)
		return later, false
	}
	r.inFlight[seq] = h
	r.startReady(ctx)
	return 0, true
}

// maxUnbegun bounds unbegun to about 50 MB. What is forgotten counts as begun once, which is
// what a crash does to all in hand, and is no harm.
const maxUnstarted = 1_000_000

// remember that a message goes back that no attempt was made at. Another process does not
// know.
func (r *dispatcher) recordUnstarted(h *prefetched) {
	if h.redelivered {
		return
	}
	if len(r.unstarted) >= maxUnstarted {
		clear(r.unstarted)
	}
	r.unstarted[h.sequence()] = h.NumDelivered
}

// start starts a handler for each message whose turn it is. The caller holds mu.
func (r *dispatcher) startReady(ctx context.Context) {
	if r.closed || ctx.Err() != nil {
		return
	}
	now := time.Now()
	for h := r.scheduler.next(now); h != nil; h = r.scheduler.next(now) {
		h.running = true
		r.handlers.Go(func() {
			defer r.finish(ctx, h)
			r.work(ctx, h)
		})
	}
	if at := r.scheduler.nextWake(now); !at.IsZero() {
		r.wakeAt(ctx, at.Sub(now))
	}
}

// wakeAt has start called again after d.
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

// end lets go of a message and starts the next.
func (r *dispatcher) finish(ctx context.Context, h *prefetched) {
	r.mu.Lock()
	delete(r.inFlight, h.sequence())
	r.scheduler.finish(h, h.result, time.Now())
	r.startReady(ctx)
	r.mu.Unlock()
	select {
	case r.roomFreed <- struct{}{}:
	default:
	}
}

// close has no handler start from now on.
func (r *dispatcher) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.wake != nil {
		r.wake.Stop()
	}
}

// keepAlive tells the broker, until ctx ends, which messages are in hand.
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
			_ = m.InProgress() // if it is lost, the message comes twice, which is harmless
		}
	}
}

// silent gives the messages in hand of which the broker has not heard for a while. Most are
// done before.
func (r *dispatcher) dueForExtension(now time.Time) []jetstream.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	var silent []jetstream.Msg
	for _, h := range r.inFlight {
		if now.Sub(h.extended) > r.AckWait/4 {
			h.extended = now
			silent = append(silent, h.Msg)
		}
	}
	return silent
}

func (r *dispatcher) keepUnfinished(h *prefetched) {
	r.mu.Lock()
	r.unfinished = append(r.unfinished, h)
	r.mu.Unlock()
}

// handBack returns what was not finished, now that our own pull can't swallow it again.
func (r *dispatcher) release() {
	for _, h := range r.inFlight {
		r.unfinished = append(r.unfinished, h)
	}
	for _, m := range r.unfinished {
		_ = m.Nak() // lost: it comes back after the ack wait
	}
}
