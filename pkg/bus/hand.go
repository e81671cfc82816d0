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
type running struct {
	Consumer
	bus      *Bus
	handlers sync.WaitGroup
	changed  chan struct{} // holds one when there may be room for more
	looking  chan struct{} // holds one for each message that Done is asked of before it has a lane
	looked   time.Time     // when it was last asked whether the consumer is there; of pull alone
	mu       sync.Mutex    // guards all below
	created  time.Time     // the durable consumer, by the broker's clock
	fair     *fair
	inHand   map[uint64]*held  // by stream sequence
	unbegun  map[uint64]uint64 // handed back before any attempt: the broker's count of deliveries then
	back     []jetstream.Msg   // not finished when ctx ended
	closed   bool
	wake     *time.Timer // for the next company that waits out a throttle
}

// held is a message in hand.
type held struct {
	jetstream.Msg
	*jetstream.MsgMetadata
	subject   Subject
	senseless error // the subject does not parse
	begun     bool  // in an earlier delivery, as far as is known
	running   bool
	told      time.Time // when the broker last heard that it is in hand
	ending    ending
	lane      *lane
	size      int
}

func (h *held) sequence() uint64 { return h.Sequence.Stream }

func newRunning(b *Bus, c Consumer) *running {
	return &running{
		Consumer: c, bus: b, changed: make(chan struct{}, 1), looking: make(chan struct{}, pullMost), inHand: map[uint64]*held{}, unbegun: map[uint64]uint64{},
		fair: &fair{slots: c.Concurrency, room: c.Hold, roomSize: holdSize, lanes: map[int64]*lane{}},
	}
}

const (
	// pullWait bounds how long a pull stays open; a stop waits for it.
	pullWait = time.Second
	pullMost = 256
)

// pull asks for messages as long as a slot is free: where all in hand are of companies that
// have their share, those behind them may be of others.
func (r *running) pull(ctx context.Context, cons jetstream.Consumer) error {
	for {
		n := r.room(ctx)
		if n == 0 {
			return nil
		}
		r.bus.pulls.RLock()
		batch, err := cons.Fetch(n, jetstream.FetchMaxWait(pullWait))
		if err == nil {
			for m := range batch.Messages() {
				r.take(ctx, m)
			}
			err = batch.Error()
		}
		r.bus.pulls.RUnlock()
		if err := r.pulled(ctx, cons, err); err != nil {
			return err
		}
	}
}

// room waits until a pull is worth it and says for how many; 0: ctx ended.
func (r *running) room(ctx context.Context) int {
	for ctx.Err() == nil {
		r.mu.Lock()
		n := min(r.fair.free(), pullMost)
		r.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-ctx.Done():
		case <-r.changed:
		}
	}
	return 0
}

// pulled looks at how a pull ended: that the consumer or its stream is gone ends it, anything else is waited
// out. A pull that only ran out of time may not have been heard by anybody, so that now and
// then the consumer is asked for all the same.
func (r *running) pulled(ctx context.Context, cons jetstream.Consumer, err error) error {
	quiet := err == nil || errors.Is(err, nats.ErrTimeout)
	if ctx.Err() != nil || quiet && time.Since(r.looked) < 5*time.Second {
		return nil
	}
	r.looked = time.Now()
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
func (r *running) take(ctx context.Context, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return // not from a stream: nobody waits for it
	}
	h := &held{Msg: m, MsgMetadata: meta, told: time.Now(), size: len(m.Data())}
	if h.subject, h.senseless = Parse(m.Subject()); h.senseless != nil {
		company, request := owner(m.Subject())
		h.subject = For(r.Kind, "", company, request)
	}
	if r.Done == nil || h.senseless != nil || !r.older(h.Timestamp) {
		r.settleIn(ctx, h)
		return
	}
	r.looking <- struct{}{}
	r.handlers.Go(func() {
		defer func() { <-r.looking }()
		if done, err := r.Done(ctx, h.message()); done && err == nil {
			_ = m.Ack() // lost: it comes back after the ack wait
			return
		}
		r.settleIn(ctx, h)
	})
}

// settleIn gives a message a place in its company's lane, or hands it back.
func (r *running) settleIn(ctx context.Context, h *held) {
	if later, kept := r.keep(ctx, h); !kept {
		_ = h.NakWithDelay(later) // lost: it comes back after the ack wait
	}
}

// older says whether a message was stored before its consumer was made.
func (r *running) older(stored time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return stored.Before(r.created)
}

// keep is take without a word to the broker.
func (r *running) keep(ctx context.Context, h *held) (later time.Duration, kept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seq := h.sequence()
	if twice := r.inHand[seq]; twice != nil {
		if !twice.running {
			twice.begun = true // by whoever else it was given to, for all we know
			twice.Msg, twice.MsgMetadata, twice.told = h.Msg, h.MsgMetadata, h.told
		}
		return 0, true
	}
	if ctx.Err() != nil {
		r.back = append(r.back, h)
		return 0, true
	}
	h.begun = h.NumDelivered > 1 && r.unbegun[seq] != h.NumDelivered-1
	delete(r.unbegun, seq)
	later, kept = r.fair.add(h, h.subject.Company, h.told)
	if !kept {
		r.remember(h)
		return later, false
	}
	r.inHand[seq] = h
	r.start(ctx)
	return 0, true
}

// maxUnbegun bounds unbegun to about 50 MB. What is forgotten counts as begun once, which is
// what a crash does to all in hand, and is no harm.
const maxUnbegun = 1_000_000

// remember that a message goes back that no attempt was made at. Another process does not
// know.
func (r *running) remember(h *held) {
	if h.begun {
		return
	}
	if len(r.unbegun) >= maxUnbegun {
		clear(r.unbegun)
	}
	r.unbegun[h.sequence()] = h.NumDelivered
}

// start starts a handler for each message whose turn it is. The caller holds mu.
func (r *running) start(ctx context.Context) {
	if r.closed || ctx.Err() != nil {
		return
	}
	now := time.Now()
	for h := r.fair.start(now); h != nil; h = r.fair.start(now) {
		h.running = true
		r.handlers.Go(func() {
			defer r.end(ctx, h)
			r.work(ctx, h)
		})
	}
	if at := r.fair.wake(now); !at.IsZero() {
		r.wakeAt(ctx, at.Sub(now))
	}
}

// wakeAt has start called again after d.
func (r *running) wakeAt(ctx context.Context, d time.Duration) {
	if r.wake != nil {
		r.wake.Stop()
	}
	r.wake = time.AfterFunc(d, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.start(ctx)
	})
}

// end lets go of a message and starts the next.
func (r *running) end(ctx context.Context, h *held) {
	r.mu.Lock()
	delete(r.inHand, h.sequence())
	r.fair.end(h, h.ending, time.Now())
	r.start(ctx)
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// close has no handler start from now on.
func (r *running) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.wake != nil {
		r.wake.Stop()
	}
}

// keepAlive tells the broker, until ctx ends, which messages are in hand.
func (r *running) keepAlive(ctx context.Context) {
	tick := time.NewTicker(r.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, m := range r.silent(time.Now()) {
			_ = m.InProgress() // if it is lost, the message comes twice, which is harmless
		}
	}
}

// silent gives the messages in hand of which the broker has not heard for a while. Most are
// done before.
func (r *running) silent(now time.Time) []jetstream.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	var silent []jetstream.Msg
	for _, h := range r.inHand {
		if now.Sub(h.told) > r.AckWait/4 {
			h.told = now
			silent = append(silent, h.Msg)
		}
	}
	return silent
}

func (r *running) unfinished(h *held) {
	r.mu.Lock()
	r.back = append(r.back, h)
	r.mu.Unlock()
}

// handBack returns what was not finished, now that our own pull can't swallow it again.
func (r *running) handBack() {
	for _, h := range r.inHand {
		r.back = append(r.back, h)
	}
	for _, m := range r.back {
		_ = m.Nak() // lost: it comes back after the ack wait
	}
}
