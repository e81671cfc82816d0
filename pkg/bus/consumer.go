package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
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
	Repeat   bool      // it was delivered before: an earlier attempt may have done part of the work
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
//	transient, ambiguous   comes back after 1, 2, 4 … 60 Backoffs; as permanent after
//	                       Attempts, but not before it is Patience old
//	permanent              GiveUp, then acked; if GiveUp fails, it comes back and so on
//
// A message whose attempts end without any verdict kills its process. From its third delivery
// on it runs alone, so that its neighbours are not blamed, and after maxUnfinished it is given up.
type Consumer struct {
	Kind        Kind
	Name        string        // of the durable consumer, and of the stop in dead letters
	Filter      string        // subjects; "": the whole stream
	Concurrency int           // handlers at once; 0: 256
	Attempts    int           // 0: 12
	Backoff     time.Duration // 0: 1 s
	Patience    time.Duration // 0: 15 minutes
	AckWait     time.Duration // until an attempt that was never heard of again is repeated; 0: 30 s
	Handle      Handler
	// GiveUp takes over a message that can't be done: it must keep it as a dead letter.
	GiveUp  func(ctx context.Context, m Message, err error) error
	Observe func(m Message, took time.Duration, verdict string, err error) // one call per attempt; may be nil
}

// Day is the patience of those who only need Procore: its outages pass, and what was
// given up without its payload can't be closed out.
const Day = 24 * time.Hour

const (
	maxUnfinished = 5
	// pullWait bounds how long a pull stays open; a stop waits for it.
	pullWait = time.Second
)

// Consume works the consumer's messages until ctx ends, then waits for the handlers under
// way, which are cancelled with it. What was not finished is delivered again. It ends with
// an error if somebody deleted the consumer.
func (b *Bus) Consume(ctx context.Context, c Consumer) error {
	c.defaults()
	cons, err := b.js.CreateOrUpdateConsumer(ctx, c.Kind.Stream(), jetstream.ConsumerConfig{
		Durable: c.Name, FilterSubject: c.Filter, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: c.AckWait, MaxDeliver: -1, MaxAckPending: 100_000,
	})
	if err != nil {
		return fmt.Errorf("consumer %s: %w", c.Name, err)
	}
	r := &running{bus: b, Consumer: c, slots: make(chan struct{}, c.Concurrency), inFlight: map[uint64]jetstream.Msg{}}
	working, stop := context.WithCancel(ctx)
	var alive sync.WaitGroup
	alive.Go(func() { r.keepAlive(working) })
	err = r.pull(ctx, cons)
	r.handlers.Wait()
	r.handBack()
	stop()
	alive.Wait()
	return err
}

func (c *Consumer) defaults() {
	if c.Filter == "" {
		c.Filter = "tb." + string(c.Kind) + ".>"
	}
	if c.Concurrency == 0 {
		c.Concurrency = 256
	}
	if c.Attempts == 0 {
		c.Attempts = 12
	}
	if c.Backoff == 0 {
		c.Backoff = time.Second
	}
	if c.Patience == 0 {
		c.Patience = 15 * time.Minute
	}
	if c.AckWait == 0 {
		c.AckWait = 30 * time.Second
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
	suspect  sync.RWMutex // held alone by a message that may kill its process
	mu       sync.Mutex
	inFlight map[uint64]jetstream.Msg
	back     []jetstream.Msg // not finished when ctx ended
}

// pull asks only for what can start at once: a message in a client's buffer would wait there
// with its ack wait running, and nobody to keep it alive.
func (r *running) pull(ctx context.Context, cons jetstream.Consumer) error {
	for ctx.Err() == nil {
		free := r.reserve(ctx)
		batch, err := cons.Fetch(free, jetstream.FetchMaxWait(pullWait))
		if err == nil {
			for m := range batch.Messages() {
				if r.take(ctx, m) {
					free--
				}
			}
			err = batch.Error()
		}
		r.release(free)
		if err := r.pulled(ctx, err); err != nil {
			return err
		}
	}
	return nil
}

// pulled looks at how a pull ended: an error ends the consumer, anything else is waited out.
func (r *running) pulled(ctx context.Context, err error) error {
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, nats.ErrTimeout):
		return nil
	case errors.Is(err, jetstream.ErrConsumerDeleted), errors.Is(err, jetstream.ErrConsumerNotFound):
		return fmt.Errorf("consumer %s of %s: %w", r.Name, r.Kind.Stream(), err)
	}
	r.bus.log.Warn("no messages from the broker, asking again", zap.String("consumer", r.Name), zap.Error(err))
	select {
	case <-ctx.Done():
	case <-time.After(pullWait):
	}
	return nil
}

// reserve waits until a quarter of the slots is free, and takes all that are: a pull for each
// slot alone would cost more than the work. It takes fewer only when ctx ends.
func (r *running) reserve(ctx context.Context) int {
	n := 0
	for want := max(1, cap(r.slots)/4); n < want; n++ {
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			return n
		}
	}
	for {
		select {
		case r.slots <- struct{}{}:
			n++
		default:
			return n
		}
	}
}

func (r *running) release(n int) {
	for range n {
		<-r.slots
	}
}

// keepAlive tells the broker, until ctx ends, that the messages in hand are being worked.
func (r *running) keepAlive(ctx context.Context) {
	tick := time.NewTicker(r.AckWait / 3)
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

// take starts the handler in a slot that is reserved, and says whether it used it. A second
// copy of a message that is in hand is left alone: the first one's verdict holds for both.
func (r *running) take(ctx context.Context, m jetstream.Msg) bool {
	meta, err := m.Metadata()
	if err != nil {
		return false // not from a stream: nobody waits for it
	}
	if ctx.Err() != nil {
		r.unfinished(m)
		return false
	}
	if !r.track(meta.Sequence.Stream, m) {
		return false
	}
	r.handlers.Go(func() {
		defer r.release(1)
		defer r.untrack(meta.Sequence.Stream)
		r.work(ctx, m, meta)
	})
	return true
}

func (r *running) track(seq uint64, m jetstream.Msg) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, twice := r.inFlight[seq]; twice {
		return false
	}
	r.inFlight[seq] = m
	return true
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
	msg := Message{
		Raw: m.Subject(), Data: m.Data(), Attempt: 1, Repeat: meta.NumDelivered > 1,
		Stored: meta.Timestamp, Stream: meta.Stream, Sequence: meta.Sequence.Stream,
	}
	start := time.Now()
	history, err := r.attempt(ctx, &msg)
	took := time.Since(start)
	if fault.Stopped(ctx, err) {
		r.note(ctx, msg, history) // a restart is no attempt
		r.unfinished(m)
		return
	}
	verdict := r.settle(ctx, m, msg, history, err)
	r.Observe(msg, took, verdict, err)
}

// attempt counts, then runs the handler. The count is written before the handler starts,
// so that a message that kills the process is known when it comes again. It returns the
// history as it was before.
func (r *running) attempt(ctx context.Context, msg *Message) (attempts, error) {
	var err error
	if msg.Subject, err = Parse(msg.Raw); err != nil {
		msg.Subject = For(r.Kind, "", 0, 0)
		return attempts{}, fault.New(fault.Permanent, err)
	}
	history, err := r.history(ctx, msg)
	if err != nil {
		return history, err
	}
	if history.Unfinished < 2 {
		r.suspect.RLock()
		defer r.suspect.RUnlock()
	} else {
		r.suspect.Lock()
		defer r.suspect.Unlock()
	}
	return history, r.guarded(ctx, *msg)
}

// history reads what is known of a message that was delivered before, and notes that an
// attempt starts.
func (r *running) history(ctx context.Context, msg *Message) (attempts, error) {
	if !msg.Repeat {
		return attempts{}, nil
	}
	h, err := r.bus.state.attempts(ctx, msg.Stream, r.Name, msg.Sequence)
	if err != nil {
		return h, fault.Wait(r.Backoff, err)
	}
	msg.Attempt = h.Done + 1
	if h.Unfinished >= maxUnfinished {
		return h, fault.New(fault.Permanent, fmt.Errorf("%d attempts did not end: it may kill the process that works it", h.Unfinished))
	}
	begun := h
	begun.Unfinished++
	err = r.bus.state.saveAttempts(ctx, msg.Stream, r.Name, msg.Sequence, begun)
	if err != nil {
		return h, fault.Wait(r.Backoff, err)
	}
	return h, nil
}

// note keeps a message's history after a verdict that brings it back. If the note is lost,
// the message counts as unfinished once, which it may be a few times.
func (r *running) note(ctx context.Context, msg Message, h attempts) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if msg.Repeat || h != (attempts{}) {
		_ = r.bus.state.saveAttempts(ctx, msg.Stream, r.Name, msg.Sequence, h)
	}
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
func (r *running) settle(ctx context.Context, m jetstream.Msg, msg Message, h attempts, err error) string {
	if err == nil {
		r.ack(ctx, m, msg)
		return "done"
	}
	class := fault.ClassOf(err)
	if class == fault.Throttled {
		r.note(ctx, msg, attempts{Done: h.Done}.failed(err))
		_ = m.NakWithDelay(jitter(max(fault.RetryAfter(err), minWait)))
		return "throttled"
	}
	patient := msg.Attempt < r.Attempts || time.Since(msg.Stored) < r.Patience
	if class == fault.Permanent || !patient {
		giveUp := r.GiveUp(ctx, msg, err)
		if giveUp == nil {
			r.ack(ctx, m, msg)
			return "dead"
		}
		r.bus.log.Error("could not dead-letter, will try again", zap.String("subject", msg.Raw), zap.Error(giveUp))
	}
	r.note(ctx, msg, attempts{Done: msg.Attempt}.failed(err))
	_ = m.NakWithDelay(jitter(r.delay(msg.Attempt)))
	return "again"
}

// minWait is the shortest wait of a throttled message.
const minWait = 100 * time.Millisecond

func (r *running) ack(ctx context.Context, m jetstream.Msg, msg Message) {
	_ = m.Ack() // a lost ack means one more delivery, and every stage bears that
	if msg.Repeat {
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
