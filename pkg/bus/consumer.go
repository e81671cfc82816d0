package bus

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/fault"
)

// Message is one message as a handler sees it.
type Message struct {
	Subject  Subject
	Raw      string // the subject as received, even where it does not parse
	Data     []byte
	Attempt  int       // 1 for the first
	Stored   time.Time // when the broker took it
	Stream   string
	Sequence uint64
}

// Handler works a message. It returns nil or an error classed by package fault; it never
// acks, sleeps or retries. It must be safe to run again after a crash at any point.
type Handler func(context.Context, Message) error

// Consumer is a durable subscription. What becomes of a message, by the handler's error:
//
//	nil                    acked
//	throttled              comes back after RetryAfter; not an attempt
//	transient, ambiguous   comes back after 1, 2, 4 … 60 Backoffs; after Attempts: as permanent
//	permanent              GiveUp, then acked; if GiveUp fails, it comes back and so on
//
// A handler that panics, or kills its process, has used an attempt.
type Consumer struct {
	Kind        Kind
	Name        string // of the durable consumer, and of the stop in dead letters
	Filter      string // subjects; "": the whole stream
	Concurrency int    // handlers at once; 0: 128
	Attempts    int    // 0: 12
	Backoff     time.Duration
	Handle      Handler
	// GiveUp takes over a message that can't be done: it must keep it as a dead letter.
	GiveUp  func(ctx context.Context, m Message, err error) error
	Observe func(m Message, took time.Duration, verdict string, err error) // one call per attempt; may be nil
}

const ackWait = 60 * time.Second

// Consume works the consumer's messages until ctx ends, then waits for the handlers under
// way, which are cancelled with it. What was not finished is delivered again.
func (b *Bus) Consume(ctx context.Context, c Consumer) error {
	c.defaults()
	filter := c.Filter
	if filter == "" {
		filter = "tb." + string(c.Kind) + ".>"
	}
	cons, err := b.js.CreateOrUpdateConsumer(ctx, c.Kind.Stream(), jetstream.ConsumerConfig{
		Durable: c.Name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 10_000,
	})
	if err != nil {
		return fmt.Errorf("consumer %s: %w", c.Name, err)
	}
	r := &running{bus: b, Consumer: c, slots: make(chan struct{}, c.Concurrency), inFlight: map[uint64]jetstream.Msg{}}
	sub, err := cons.Consume(func(m jetstream.Msg) { r.take(ctx, m) },
		jetstream.PullMaxMessages(2*c.Concurrency),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			b.log.Debug("consumer", zap.String("consumer", c.Name), zap.Error(err))
		}))
	if err != nil {
		return fmt.Errorf("consumer %s: %w", c.Name, err)
	}
	r.keepAlive(ctx)
	sub.Drain()
	<-sub.Closed()
	r.handlers.Wait()
	r.handBack()
	return nil
}

func (c *Consumer) defaults() {
	if c.Concurrency == 0 {
		c.Concurrency = 128
	}
	if c.Attempts == 0 {
		c.Attempts = 12
	}
	if c.Backoff == 0 {
		c.Backoff = time.Second
	}
	if c.Observe == nil {
		c.Observe = func(Message, time.Duration, string, error) {}
	}
}

type running struct {
	Consumer
	bus      *Bus
	slots    chan struct{}
	handlers sync.WaitGroup
	mu       sync.Mutex
	inFlight map[uint64]jetstream.Msg
	back     []jetstream.Msg // not finished when ctx ended
}

// keepAlive tells the broker, until ctx ends, that the messages in hand are being worked.
func (r *running) keepAlive(ctx context.Context) {
	tick := time.NewTicker(ackWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.mu.Lock()
		for _, m := range r.inFlight {
			_ = m.InProgress() // if it is lost, the message comes twice, which is harmless
		}
		r.mu.Unlock()
	}
}

// take waits for a free slot, which holds back the pull, and starts the handler.
func (r *running) take(ctx context.Context, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return // not from a stream: nobody waits for it
	}
	r.track(meta.Sequence.Stream, m)
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		r.untrack(meta.Sequence.Stream)
		r.unfinished(m)
		return
	}
	r.handlers.Go(func() {
		defer func() { <-r.slots }()
		defer r.untrack(meta.Sequence.Stream)
		r.work(ctx, m, meta)
	})
}

func (r *running) track(seq uint64, m jetstream.Msg) {
	r.mu.Lock()
	r.inFlight[seq] = m
	r.mu.Unlock()
}

func (r *running) untrack(seq uint64) {
	r.mu.Lock()
	delete(r.inFlight, seq)
	r.mu.Unlock()
}

func (r *running) unfinished(m jetstream.Msg) {
	r.mu.Lock()
	r.back = append(r.back, m)
	r.mu.Unlock()
}

// handBack returns what was not finished, now that our own pull can't swallow it again.
func (r *running) handBack() {
	for _, m := range r.back {
		_ = m.Nak() // lost: it comes back after the ack wait
	}
}

func (r *running) work(ctx context.Context, m jetstream.Msg, meta *jetstream.MsgMetadata) {
	msg := Message{Raw: m.Subject(), Data: m.Data(), Attempt: 1, Stored: meta.Timestamp, Stream: meta.Stream, Sequence: meta.Sequence.Stream}
	start := time.Now()
	err := r.attempt(ctx, &msg, meta.NumDelivered)
	took := time.Since(start)
	if fault.Stopped(ctx, err) {
		r.unfinished(m)
		return
	}
	verdict := r.settle(ctx, m, msg, err)
	r.Observe(msg, took, verdict, err)
}

// attempt counts, then runs the handler. The count is written before the handler starts,
// so that a message that kills the process is known when it comes again.
func (r *running) attempt(ctx context.Context, msg *Message, delivered uint64) error {
	if delivered > 1 {
		n, err := r.bus.state.attempts(ctx, msg.Stream, r.Name, msg.Sequence)
		if err != nil {
			return fault.New(fault.Throttled, err)
		}
		n = max(n, 1) // the first was not written down
		msg.Attempt = int(n) + 1
		if msg.Attempt > r.Attempts {
			return fault.New(fault.Permanent, fmt.Errorf("%d attempts did not end: each may have killed its process", n))
		}
		if err := r.bus.state.saveAttempts(ctx, msg.Stream, r.Name, msg.Sequence, n+1); err != nil {
			return fault.New(fault.Throttled, err)
		}
	}
	var err error
	if msg.Subject, err = Parse(msg.Raw); err != nil {
		msg.Subject = For(r.Kind, "", 0, 0)
		return fault.New(fault.Permanent, err)
	}
	return r.guarded(ctx, *msg)
}

func (r *running) guarded(ctx context.Context, msg Message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Transient, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return r.Handle(ctx, msg)
}

// settle is the one place where an error becomes an ack.
func (r *running) settle(ctx context.Context, m jetstream.Msg, msg Message, err error) string {
	if err == nil {
		r.ack(ctx, m, msg)
		return "done"
	}
	class := fault.ClassOf(err)
	if class == fault.Throttled {
		wait := max(fault.RetryAfter(err), 100*time.Millisecond)
		if msg.Attempt > 1 {
			_ = r.bus.state.saveAttempts(ctx, msg.Stream, r.Name, msg.Sequence, int64(msg.Attempt-1)) // waiting is no attempt
		}
		_ = m.NakWithDelay(jitter(wait))
		return "throttled"
	}
	if class != fault.Permanent && msg.Attempt < r.Attempts {
		_ = m.NakWithDelay(jitter(r.delay(msg.Attempt)))
		return "again"
	}
	if giveUp := r.GiveUp(ctx, msg, err); giveUp != nil {
		r.bus.log.Error("could not dead-letter, will try again", zap.String("subject", msg.Raw), zap.Error(giveUp))
		_ = m.NakWithDelay(jitter(r.delay(msg.Attempt)))
		return "again"
	}
	r.ack(ctx, m, msg)
	return "dead"
}

func (r *running) ack(ctx context.Context, m jetstream.Msg, msg Message) {
	_ = m.Ack() // a lost ack means one more delivery, and every stage bears that
	if msg.Attempt > 1 {
		_ = r.bus.state.forgetAttempts(ctx, msg.Stream, r.Name, msg.Sequence)
	}
}

// delay before the attempt after the n-th: 1, 2, 4, 8, 16, 32, 60, 60 … Backoffs.
func (r *running) delay(n int) time.Duration {
	return time.Duration(min(1<<min(n-1, 6), 60)) * r.Backoff
}

// jitter adds up to a fifth, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d)/5+1))
}
