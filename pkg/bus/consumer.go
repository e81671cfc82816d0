package bus

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// Message is a message as its handler sees it.
type Message struct {
	Subject     Subject
	RawSubject  string // the subject as received, even if it does not parse
	Data        []byte
	Attempt     int       // 1 for the first
	Redelivered bool      // an earlier attempt may have done part of the work, or the message is older than its consumer
	Isolated    bool      // other suspects wait for this message (see quarantine), so the handler must not wait to fill a batch
	Stored      time.Time // when the broker stored it
	Stream      string
	Sequence    uint64
	End         *End // for the handler to fill in; nil: the result is not used
}

// End is the result of a message's request, for the log line of the attempt. The zero value: the handler did not set it.
type End struct {
	Result Result
	Reason string // why it was refused or failed, in plain words
}

// Result says how a request ended.
type Result string

// The results.
const (
	ResultSuccess Result = "success"
	ResultRefused Result = "refused" // because of the record, which the accountant can correct
	ResultFailed  Result = "failed"  // dead-lettered, or not reported completely
)

// Results lists all results.
var Results = []Result{ResultSuccess, ResultRefused, ResultFailed}

// SetEnd sets the result of the message's request.
func (m Message) SetEnd(r Result, reason string) {
	if m.End != nil {
		*m.End = End{Result: r, Reason: reason}
	}
}

// Handler processes a message. It returns nil or an error classified by package fault. It does not ack, sleep or retry.
// It must be idempotent: after a crash at any point it runs again.
type Handler func(context.Context, Message) error

// Consumer is a durable subscription that is fair among companies; see package scheduler. The handler's error decides what
// happens to a message:
//
//	nil                    it is acked
//	throttled              it is redelivered after the error's fault.RetryAfter; the attempt does not count; until
//	                       then no other message of its company starts. From the end of the stream's retention on, the
//	                       error counts as permanent: the message would keep all later ones from being removed
//	transient, ambiguous   it is redelivered after 1, 2, 4 … 60 Backoffs. The error counts as permanent once both are
//	                       true: the message has had Attempts attempts, and it is older than RetryFor
//	permanent              GiveUp is called, and the message acked; if GiveUp fails, it is redelivered
//
// A poison message is one that crashes its process: its attempts end without a result. The quarantine distinguishes
// it from the messages that were running at the same time. After maxUnfinished such attempts it is given up.
//
// The broker stores acks only in the durable consumer. If the consumer was lost or created again, all messages of the
// stream are delivered as if for the first time. Each message that is older than its consumer therefore has Redelivered
// set, and Done is called before it is queued, so that new messages do not wait behind it. Done is also called for a
// message that is redelivered or was stored more than 5 seconds (or RetryFor, if shorter) ago, because a broker that lost
// power may have lost acks. Done is not called for messages that are processed as they arrive.
type Consumer struct {
	Kind        Kind
	Name        string        // of the durable consumer, and of the stage in dead letters
	Concurrency int           // handlers running at once; 0: 256
	Prefetch    int           // messages queued in addition to the running ones; 0: 4,096
	Attempts    int           // attempts that a message has at least; 0: 12
	Backoff     time.Duration // 0: 1 s
	RetryFor    time.Duration // age up to which a message is retried in any case; 0: 15 minutes
	AckWait     time.Duration // after which the broker redelivers a message without an ack; 0: 2 s. With a managed topology, the value configured at the broker is used
	Handle      Handler
	// Paused reports whether no message of a company may start now. It is called often, and must be fast and safe for
	// concurrent use. The end of a pause is noticed within a second. nil: no company is paused.
	Paused func(company int64) bool
	// Retry receives requests to retry at once: the next attempt at each message of such a request starts now if the message waits
	// after an error. A message that is being processed, or waits for a rate limit, is not affected. May be nil.
	Retry <-chan Subject
	// Done reports whether a message was processed before. If so it is acked and not handled. May be nil.
	Done func(context.Context, Message) (bool, error)
	// GiveUp is called for a message that can't be processed. It must store the message as a dead letter.
	GiveUp  func(ctx context.Context, m Message, err error) error
	Observe func(m Message, took time.Duration, verdict string, err error) // called once per attempt; may be nil
}

// Day is the RetryFor of stages that call only Procore: an outage of Procore passes, and a request that is given up before
// its payload was fetched can't be closed.
const Day = 24 * time.Hour

// firstDeliveryAge is the age up to which Done is not called for a message's first delivery.
const firstDeliveryAge = 5 * time.Second

const (
	defaultBackoff = time.Second
	// maxUnfinished is the number of unfinished attempts after which a message is given up.
	maxUnfinished = 5
	// prefetchBytes bounds the size of the queued messages. An event of 1,000 lines has about 3 MB.
	prefetchBytes = 64 << 20
)

// Consume processes the consumer's messages until ctx ends, which also cancels running handlers, and waits for them.
// Unfinished messages are released for redelivery. It returns an error if the consumer or its stream is deleted.
func (b *Bus) Consume(ctx context.Context, c Consumer) error {
	cons, err := b.durable(ctx, c.durable(), cmp.Or(c.AckWait, b.ackWait, defaultAckWait))
	if err != nil {
		return err
	}
	c.AckWait = cons.CachedInfo().Config.AckWait // the value that the consumer really has
	c.defaults()
	run := newDispatcher(b, c)
	run.created = cons.CachedInfo().Created
	if run.retention, err = b.Retention(ctx, c.Kind); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	var extending sync.WaitGroup
	extending.Go(func() { run.extendAckWait(working) })
	extending.Go(func() { run.retryAsked(working) })
	err = run.pull(working, cons)
	run.close()
	stop() // cancels the handlers, if ctx has not ended
	run.handlers.Wait()
	run.release()
	extending.Wait()
	return err
}

func (c *Consumer) defaults() {
	c.Concurrency, c.Prefetch, c.Attempts = cmp.Or(c.Concurrency, 256), cmp.Or(c.Prefetch, 4096), cmp.Or(c.Attempts, 12)
	c.Backoff, c.RetryFor = cmp.Or(c.Backoff, defaultBackoff), cmp.Or(c.RetryFor, 15*time.Minute)
	if c.Observe == nil {
		c.Observe = func(Message, time.Duration, string, error) {}
	}
}

// durable returns the consumer's entry in topology.Durables, or one for the whole stream if it has none.
func (c Consumer) durable() topology.Durable {
	for _, d := range topology.Durables() {
		if d.Kind == c.Kind && d.Name == c.Name {
			return d
		}
	}
	return topology.Durable{Kind: c.Kind, Name: c.Name, Filter: c.Kind.Subjects()}
}

// defaultAckWait is the ack wait of consumers without one of their own. It is how long the messages of a process that died wait.
// A process that stalls for longer than extendAfter lets it end, and its running messages are attempted a second time
// elsewhere.
const defaultAckWait = 2 * time.Second

// The ack wait of a message in flight is restarted when extendAfter has passed since the last time, give or take extendEvery. Both
// are fractions of the ack wait. They do not grow with an ack wait longer than the default, so that it can be shortened while
// processes run.
func extendEvery(ackWait time.Duration) time.Duration { return min(ackWait, defaultAckWait) / 8 }

func extendAfter(ackWait time.Duration) time.Duration { return 3 * extendEvery(ackWait) }
