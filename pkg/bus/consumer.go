package bus

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// Message is one message as a handler sees it.
type Message struct {
	Subject     Subject
	Raw         string // the subject as received, even where it does not parse
	Data        []byte
	Attempt     int       // 1 for the first
	Redelivered bool      // an earlier attempt may have done part of the work: it was begun before, or is older than its consumer
	Isolated    bool      // others wait until it ends (see suspects): to wait for company is in vain
	Stored      time.Time // when the broker took it
	Stream      string
	Sequence    uint64
	End         *End // for the handler to fill in; nil: nobody reads it
}

// End is how the request of a message came out, for the line of the attempt. The zero value: the handler does
// not say.
type End struct {
	Result Result
	Reason string // why it was refused or failed, in plain words
}

// Result is how a request came out.
type Result string

// The results.
const (
	ResultSuccess Result = "success"
	ResultRefused Result = "refused" // for what the record says: the accountant can correct it
	ResultFailed  Result = "failed"  // given up, or not all of it could be reported
)

// Results are all of them.
var Results = []Result{ResultSuccess, ResultRefused, ResultFailed}

// Say fills in how the request came out.
func (m Message) SetEnd(r Result, reason string) {
	if m.End != nil {
		*m.End = End{Result: r, Reason: reason}
	}
}

// Handler works a message. It returns nil or an error classed by package fault; it never
// acks, sleeps or retries. It must be safe to run again after a crash at any point.
type Handler func(context.Context, Message) error

// Consumer is a durable subscription, fair among companies: see fair. What becomes of a
// message, by the handler's error:
//
//	nil                    acked
//	throttled              comes back after RetryAfter; not an attempt; until then nothing
//	                       else of its company is begun
//	transient, ambiguous   comes back after 1, 2, 4 … 60 Backoffs; as permanent after
//	                       Attempts, but not before it is Patience old
//	permanent              GiveUp, then acked; if GiveUp fails, it comes back and so on
//
// A message whose attempts end without any verdict kills its process. See suspects for how
// it is told from its neighbours; after maxUnfinished it is given up.
//
// The broker keeps what was done in the durable consumer alone. Where that was lost or made again, all
// messages of the stream come as if for the first time. So a message that is older than its consumer is a
// Repeat, and Done is asked of it before it takes a place in its company's lane: the messages behind it
// do not wait for its turn. Done is also asked of a message that comes again, or that was stored more than
// 5 seconds (or Patience) ago, as a broker that lost power may have forgotten acks. It costs nothing while
// messages are worked as they come.
type Consumer struct {
	Kind        Kind
	Name        string        // of the durable consumer, and of the stop in dead letters
	Filter      string        // subjects; "": those of Durables, or else the whole stream
	Concurrency int           // handlers at once; 0: 256
	Prefetch    int           // messages in hand beside those; 0: 4,096
	Attempts    int           // 0: 12
	Backoff     time.Duration // 0: 1 s
	RetryFor    time.Duration // 0: 15 minutes
	AckWait     time.Duration // until an attempt that was never heard of again is repeated; 0: 30 s. Where it was Made: as it was made
	Handle      Handler
	// Done says whether a message has its end already: then it is acked and not handled. nil: it is not known.
	Done func(context.Context, Message) (bool, error)
	// GiveUp takes over a message that can't be done: it must keep it as a dead letter.
	GiveUp  func(ctx context.Context, m Message, err error) error
	Observe func(m Message, took time.Duration, verdict string, err error) // one call per attempt; may be nil
}

// Day is the patience of those who only need Procore: its outages pass, and what was
// given up without its payload can't be closed out.
const Day = 24 * time.Hour

// fresh is the age up to which a message that comes for the first time is taken not to be done.
const firstDeliveryAge = 5 * time.Second

const (
	maxUnfinished = 5
	// maxPending is how many messages may be out, running, held or handed back for later,
	// before the broker gives no more. Each takes about 300 bytes, here and there. 100,000 cost
	// a tenth of a core while they wait; with 500,000 the broker takes seconds to look them through.
	maxPending = 1_000_000
	// holdSize is how many bytes are held beside the handlers: 1,000 lines are about 3 MB.
	prefetchBytes = 64 << 20
)

// Consume works the consumer's messages until ctx ends, then waits for the handlers under
// way, which are cancelled with it. What was not finished is delivered again. It ends with
// an error, in the same way, if somebody deleted the consumer or its stream.
func (b *Bus) Consume(ctx context.Context, c Consumer) error {
	d, err := c.durable()
	if err != nil {
		return err
	}
	cons, err := b.consumerFor(ctx, d, cmp.Or(c.AckWait, b.ackWait, defaultAckWait))
	if err != nil {
		return err
	}
	c.AckWait = cons.CachedInfo().Config.AckWait // whoever made it had the say
	c.defaults()
	r := newDispatcher(b, c)
	r.created = cons.CachedInfo().Created
	working, stop := context.WithCancel(ctx)
	var alive sync.WaitGroup
	alive.Go(func() { r.extendAckWait(working) })
	err = r.pull(working, cons)
	r.close()
	stop() // the handlers too, where it is not ctx that ended
	r.handlers.Wait()
	r.release()
	alive.Wait()
	return err
}

func (c *Consumer) defaults() {
	if c.Concurrency == 0 {
		c.Concurrency = 256
	}
	if c.Prefetch == 0 {
		c.Prefetch = 4096
	}
	if c.Attempts == 0 {
		c.Attempts = 12
	}
	if c.Backoff == 0 {
		c.Backoff = time.Second
	}
	if c.RetryFor == 0 {
		c.RetryFor = 15 * time.Minute
	}
	if c.Observe == nil {
		c.Observe = func(Message, time.Duration, string, error) {}
	}
}
