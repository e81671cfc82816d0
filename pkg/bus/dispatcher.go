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
	retention  time.Duration // of the stream; 0: for ever
	checked    time.Time     // when the consumer was last looked up; used by pull alone
	mu         sync.Mutex    // guards the fields below
	created    time.Time     // when the durable consumer was created, by the broker's clock
	scheduler  *scheduler.Scheduler[*prefetched]
	inFlight   map[uint64]*prefetched // queued or running, by stream sequence
	unstarted  map[uint64]uint64      // by sequence: NumDelivered of a message when it was released unstarted
	waiting    map[uint64]waiting     // by sequence: messages that were released after a failed attempt and not received again
	unfinished []jetstream.Msg        // to be released when the consumer stops
	closed     bool
	wake       *time.Timer // fires when the next pause of a company ends
}

// prefetched is a message that is queued or running.
type prefetched struct {
	jetstream.Msg
	*jetstream.MsgMetadata
	subject     Subject
	malformed   error // why the subject does not parse; nil: it parses
	redelivered bool  // an attempt may have begun in an earlier delivery
	running     bool
	lapsed      bool      // it was queued when its ack wait ended: the broker delivers it again, here or to another process
	extended    time.Time // when the broker's ack wait was last restarted
	result      scheduler.Result
}

func (p *prefetched) sequence() uint64 { return p.Sequence.Stream }

func newDispatcher(b *Bus, c Consumer) *dispatcher {
	return &dispatcher{
		Consumer: c, bus: b, roomFreed: make(chan struct{}, 1), lookups: make(chan struct{}, pullMost), inFlight: map[uint64]*prefetched{}, waiting: map[uint64]waiting{}, unstarted: map[uint64]uint64{},
		scheduler: scheduler.New[*prefetched](scheduler.Limits{Running: c.Concurrency, Queued: c.Prefetch, Bytes: prefetchBytes}),
	}
}

const (
	// pullWait is how long a pull stays open. Stopping waits for it.
	pullWait = time.Second
	// pullMost is the largest number of messages of one pull.
	pullMost = 256
)

// pull pulls messages while a handler is free, even if the queues are full: the next messages of the stream may belong to
// companies that have none queued. It returns nil when ctx ends, and an error if the consumer or its stream does not exist
// any more.
func (d *dispatcher) pull(ctx context.Context, cons jetstream.Consumer) error {
	for {
		n := d.waitForRoom(ctx)
		if n == 0 {
			return nil
		}
		d.bus.pulls.RLock()
		batch, err := cons.Fetch(n, jetstream.FetchMaxWait(pullWait))
		if err == nil {
			for m := range batch.Messages() {
				d.receive(ctx, m)
			}
			err = batch.Error()
		}
		d.bus.pulls.RUnlock()
		if err := d.checkPull(ctx, cons, err); err != nil {
			return err
		}
	}
}

// waitForRoom waits until messages are wanted and returns how many to pull; 0: ctx ended.
func (d *dispatcher) waitForRoom(ctx context.Context) int {
	for ctx.Err() == nil {
		d.mu.Lock()
		n := min(d.scheduler.Wanted(), pullMost)
		d.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-ctx.Done():
		case <-d.roomFreed:
		}
	}
	return 0
}

// checkPull handles the error of a pull. It returns an error if the consumer or its stream does not exist any more, and
// waits after any other error. A pull of a deleted consumer may just time out, so the consumer is also looked up every
// 5 seconds while pulls stay empty.
func (d *dispatcher) checkPull(ctx context.Context, cons jetstream.Consumer, err error) error {
	quiet := err == nil || errors.Is(err, nats.ErrTimeout)
	if ctx.Err() != nil || quiet && time.Since(d.checked) < 5*time.Second {
		return nil
	}
	d.checked = time.Now()
	infoCtx, cancel := answerContext(ctx)
	info, infoErr := cons.Info(infoCtx)
	cancel()
	if infoErr == nil {
		d.mu.Lock()
		d.created = info.Created // the consumer may have been deleted and created again between two pulls
		d.mu.Unlock()
	}
	if errors.Is(infoErr, jetstream.ErrConsumerNotFound) || errors.Is(infoErr, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("consumer %s of %s: %w", d.Name, d.Kind.Stream(), infoErr)
	}
	if quiet {
		return nil
	}
	d.bus.log.Warn("could not pull messages from the broker, retrying", zap.String("consumer", d.Name), zap.Error(err))
	select {
	case <-ctx.Done():
	case <-time.After(pullWait):
	}
	return nil
}

// receive queues a message, or releases it if its company's queue is full, and starts the messages that may start. A
// message that is older than its consumer is acked at once if Done returns true. A second copy of a message that is in
// flight is dropped: the result of the first one settles both.
func (d *dispatcher) receive(ctx context.Context, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return // not from a stream
	}
	p := &prefetched{Msg: m, MsgMetadata: meta, extended: time.Now()}
	if p.subject, p.malformed = Parse(m.Subject()); p.malformed != nil {
		company, request := requestOf(m.Subject())
		p.subject = For(d.Kind, "", company, request)
	}
	if d.Done == nil || p.malformed != nil || !d.predatesConsumer(p.Timestamp) {
		d.enqueueOrRelease(ctx, p)
		return
	}
	d.lookups <- struct{}{}
	d.handlers.Go(func() {
		defer func() { <-d.lookups }()
		if done, err := d.Done(ctx, p.message()); done && err == nil {
			_ = m.Ack() // if it is lost, the message is redelivered after the ack wait
			return
		}
		d.enqueueOrRelease(ctx, p)
	})
}

// enqueueOrRelease queues a message, or releases it to the broker for a later redelivery.
func (d *dispatcher) enqueueOrRelease(ctx context.Context, p *prefetched) {
	if delay, taken := d.enqueue(ctx, p); !taken {
		_ = p.NakWithDelay(delay) // if it is lost, the message is redelivered after the ack wait
	}
}

// predatesConsumer reports whether a message was stored before its consumer was created.
func (d *dispatcher) predatesConsumer(stored time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return stored.Before(d.created)
}

// enqueue queues a message and starts the messages that may start. It drops a second copy of a message in flight, and leaves
// the message to the method release if ctx has ended. taken is false if there is no room: the caller must release the message, for
// redelivery after delay.
func (d *dispatcher) enqueue(ctx context.Context, p *prefetched) (delay time.Duration, taken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seq := p.sequence()
	delete(d.waiting, seq)
	if first := d.inFlight[seq]; first != nil {
		if !first.running {
			first.redelivered = true // another process may have started an attempt in between
			first.Msg, first.MsgMetadata, first.extended = p.Msg, p.MsgMetadata, p.extended
		}
		return 0, true
	}
	if ctx.Err() != nil {
		d.unfinished = append(d.unfinished, p)
		return 0, true
	}
	// If the previous delivery was released unstarted, and no other came in between, no attempt was started.
	p.redelivered = p.NumDelivered > 1 && d.unstarted[seq] != p.NumDelivered-1
	delete(d.unstarted, seq)
	if delay, queued := d.scheduler.Add(p.subject.Company, p, len(p.Data()), p.extended); !queued {
		d.recordUnstarted(p)
		return delay, false
	}
	d.inFlight[seq] = p
	d.startReady(ctx)
	return 0, true
}

// maxUnstarted bounds the map unstarted to about 50 MB. If an entry is dropped, one unfinished attempt too many is counted
// for its message. That is harmless, because a message is given up only after maxUnfinished of them.
const maxUnstarted = 1_000_000

// recordUnstarted records, in this process only, that a message is released without an attempt.
func (d *dispatcher) recordUnstarted(p *prefetched) {
	if p.redelivered {
		return
	}
	if len(d.unstarted) >= maxUnstarted {
		clear(d.unstarted)
	}
	d.unstarted[p.sequence()] = p.NumDelivered
}

// startReady starts a handler for each message that the scheduler lets start. The caller holds mu.
func (d *dispatcher) startReady(ctx context.Context) {
	if d.closed || ctx.Err() != nil {
		return
	}
	now := time.Now()
	d.scheduler.Pause(d.Paused, now)
	for p, ok := d.scheduler.Next(now); ok; p, ok = d.scheduler.Next(now) {
		if p.lapsed || now.Sub(p.extended) > d.AckWait {
			d.drop(p)
			d.scheduler.Finish(p.subject.Company, p.sequence(), scheduler.Result{}, now)
			continue
		}
		p.running = true
		d.handlers.Go(func() {
			defer d.finish(ctx, p)
			d.process(ctx, p)
		})
	}
	at := d.scheduler.NextWake(now)
	if at.IsZero() {
		return
	}
	if d.wake != nil {
		d.wake.Stop()
	}
	d.wake = time.AfterFunc(at.Sub(now), func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.startReady(ctx)
	})
}

// drop removes a queued message whose ack wait has ended, as after a stall of the process. Another process may have it. The caller
// holds mu.
func (d *dispatcher) drop(p *prefetched) {
	p.lapsed = true
	if d.inFlight[p.sequence()] == p {
		delete(d.inFlight, p.sequence())
	}
}

// finish removes a message that was settled and starts the next.
func (d *dispatcher) finish(ctx context.Context, p *prefetched) {
	d.mu.Lock()
	delete(d.inFlight, p.sequence())
	d.scheduler.Finish(p.subject.Company, p.sequence(), p.result, time.Now())
	d.startReady(ctx)
	d.mu.Unlock()
	select {
	case d.roomFreed <- struct{}{}:
	default:
	}
}

// close prevents handlers from starting.
func (d *dispatcher) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.wake != nil {
		d.wake.Stop()
	}
}

// extendAckWait restarts the broker's ack wait of all messages in flight, until ctx ends.
func (d *dispatcher) extendAckWait(ctx context.Context) {
	tick := time.NewTicker(extendEvery(d.AckWait))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, m := range d.dueForExtension(time.Now()) {
			_ = m.InProgress() // if it is lost, the message is delivered twice, which is harmless
		}
	}
}

// dueForExtension returns the messages in flight whose ack wait was last restarted extendAfter ago. Most messages are settled
// earlier. It drops the queued messages whose ack wait has ended.
func (d *dispatcher) dueForExtension(now time.Time) []jetstream.Msg {
	d.mu.Lock()
	defer d.mu.Unlock()
	var due []jetstream.Msg
	for _, p := range d.inFlight {
		switch age := now.Sub(p.extended); {
		case age > d.AckWait && !p.running:
			d.drop(p)
		case age > extendAfter(d.AckWait):
			p.extended = now
			due = append(due, p.Msg)
		}
	}
	return due
}

// release releases all unfinished messages to the broker. Call it only after pull has returned, because a running pull could
// receive them again.
func (d *dispatcher) release() {
	for _, p := range d.inFlight {
		d.unfinished = append(d.unfinished, p)
	}
	for _, m := range d.unfinished {
		_ = m.Nak() // if it is lost, the message is redelivered after the ack wait
	}
}
