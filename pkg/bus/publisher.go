package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/fault"
)

// ErrDuplicate is returned by Publish if the subject already has its message. For a stage of the pipeline that is
// success: the message was published before.
var ErrDuplicate = errors.New("already published")

// maxGroup is the largest number of messages of a commit. The broker's limit is 1,000.
const maxGroup = 500

// Publisher publishes to one stream with group commit: messages that are published while a commit is under way go into
// the next one as an atomic batch and share its fsync. A few messages are published one by one, without delay. Publish
// may be called concurrently.
//
// A duplicate in a batch makes the broker refuse the whole batch, after it has staged it. Three rules keep duplicates out:
//
//	a copy of a message in flight    waits for the result of the first, and is published only if the first fails
//	a copy of a remembered message   is answered without the broker; see PublishNew
//	any other copy                   is found by a lookup after the refusal; the rest of the batch is published as a batch
type Publisher struct {
	js           jetstream.JetStream
	stream       jetstream.Stream
	minBatch     int
	requests     *requests
	capacity     *capacityGuard // nil: no limit
	stalledSince atomic.Int64   // since when the broker has accepted no message, in Unix nanoseconds; 0: it accepts messages
	lastFailure  atomic.Int64   // when the broker last did not accept a message, in Unix nanoseconds
	queue        chan *publication
	stop         chan struct{}
	done         sync.WaitGroup
	once         sync.Once

	epoch func() uint64 // of the connection; see connectionEpoch

	mu       sync.Mutex              // guards the fields below
	inFlight map[string]*publication // by subject: the messages with the guard of IfAbsent that are not settled
	recent   recent
}

// publication is a message that is queued or being published.
type publication struct {
	msg      *nats.Msg
	ctx      context.Context
	remember bool
	epoch    uint64        // of the connection when the message was queued
	settled  chan struct{} // closed after err is set
	err      error
}

func newPublisher(js jetstream.JetStream, stream jetstream.Stream, r *requests) *Publisher {
	cfg := stream.CachedInfo().Config
	p := &Publisher{
		js: js, stream: stream, minBatch: minBatch(cfg.Replicas), requests: r, queue: make(chan *publication, maxGroup), stop: make(chan struct{}),
		epoch: func() uint64 { return connectionEpoch(js.Conn()) }, inFlight: map[string]*publication{}, recent: newRecent(cfg.MaxAge),
	}
	p.done.Go(p.run)
	return p
}

// IfAbsent sets the header by which the broker stores m only if its subject has no message, and returns m. It is the
// idempotency guard of the pipeline.
func IfAbsent(m *nats.Msg) *nats.Msg {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
	return m
}

// Publish returns nil once the broker has m on disk, and ErrDuplicate if m has the guard of IfAbsent and its subject has a
// message. It retries while the broker is unavailable. If the key may not write the subject, it returns a throttled
// nats.ErrPermissionViolation at once. If ctx ends first, m may or may not be on disk; the caller should
// publish it again. Deliveries are refused with a throttled error while the streams are full; see Options.MaxBytes.
func (p *Publisher) Publish(ctx context.Context, m *nats.Msg) error {
	return p.publish(ctx, m, false)
}

// PublishNew is Publish for a message from outside that may be sent again within seconds, as webhooks are. It sets the guard of
// IfAbsent. After it has returned nil for a subject, it returns ErrDuplicate for the subject without asking the broker, for a
// minute at most; see recent. A caller that knows that the stream lacks the message must use Publish.
func (p *Publisher) PublishNew(ctx context.Context, m *nats.Msg) error {
	p.mu.Lock()
	known := p.recent.has(m.Subject, p.epoch(), time.Now())
	p.mu.Unlock()
	if known {
		return ErrDuplicate
	}
	return p.publish(ctx, IfAbsent(m), true)
}

func (p *Publisher) publish(ctx context.Context, m *nats.Msg, remember bool) error {
	if err := p.capacity.check(ctx); err != nil {
		return err
	}
	inject(ctx, m)
	for {
		pub := &publication{msg: m, ctx: ctx, remember: remember, settled: make(chan struct{})}
		if remember {
			pub.epoch = p.epoch()
		}
		first := p.enter(pub)
		if first == pub {
			select {
			case p.queue <- pub:
			case <-ctx.Done():
				p.settle(pub, ctx.Err())
			case <-p.stop:
				return nats.ErrConnectionClosed
			}
		}
		select {
		case <-first.settled:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.stop:
			return nats.ErrConnectionClosed
		}
		switch {
		case first == pub:
			return pub.err
		case first.err == nil || errors.Is(first.err, ErrDuplicate):
			return ErrDuplicate
		}
	}
}

// enter returns the publication in flight whose result settles pub as well: an earlier copy, or pub itself.
func (p *Publisher) enter(pub *publication) *publication {
	if !hasGuard(pub.msg) {
		return pub
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first := p.inFlight[pub.msg.Subject]; first != nil {
		return first
	}
	p.inFlight[pub.msg.Subject] = pub
	return pub
}

// hasGuard reports whether m has the guard of IfAbsent.
func hasGuard(m *nats.Msg) bool { return m.Header.Get(jetstream.ExpectedLastSubjSeqHeader) == "0" }

// settle sets the result of a publication. It is called once for each.
func (p *Publisher) settle(pub *publication, err error) {
	p.mu.Lock()
	if p.inFlight[pub.msg.Subject] == pub {
		delete(p.inFlight, pub.msg.Subject)
	}
	if err == nil && pub.remember {
		p.recent.add(pub.msg.Subject, pub.epoch, p.epoch(), time.Now())
	}
	p.mu.Unlock()
	pub.err = err
	close(pub.settled)
}

func (p *Publisher) close() {
	p.once.Do(func() { close(p.stop) })
	p.done.Wait()
}

func (p *Publisher) run() {
	busy := false
	for {
		select {
		case <-p.stop:
			return
		case first := <-p.queue:
			g := p.group(first, busy)
			p.commit(g)
			busy = len(g) >= p.minBatch
		}
	}
}

// minBatch returns the number of messages from which on an atomic batch costs the broker less than single messages. A single
// broker stages each batch in a file store of its own, which costs about as much CPU as 13 synced messages, and as much time as
// 10; with replicas it stages the batch in memory, and a batch of 3 is cheaper already. BenchmarkBatch measures it.
func minBatch(replicas int) int {
	if replicas > 1 {
		return 4
	}
	return 12
}

// batchDelay is how long a busy publisher waits for more messages. It waits only if enough for a batch are queued already, so that
// a single message after a burst is not delayed.
const batchDelay = 3 * time.Millisecond

func (p *Publisher) group(first *publication, busy bool) []*publication {
	g := []*publication{first}
	if busy && len(p.queue)+1 >= p.minBatch {
		time.Sleep(batchDelay)
	}
	for len(g) < maxGroup {
		select {
		case next := <-p.queue:
			g = append(g, next)
		default:
			return g
		}
	}
	return g
}

// maxRefusals is how many times a group is published as a batch. A lagging replica may not find a duplicate, so that the batch
// is refused again.
const maxRefusals = 3

// commit publishes a group. It publishes an atomic batch if the group is large enough, and again without the duplicates if the
// broker refuses the batch because of them. After any other error, or if the group is small, each message is published alone
// and gets its own error.
func (p *Publisher) commit(g []*publication) {
	p.mu.Lock()
	p.recent.newCommit()
	p.mu.Unlock()
	for range maxRefusals {
		if len(g) < p.minBatch {
			break
		}
		ack, err := p.batch(g)
		if err == nil {
			p.recordAnswer(nil)
			p.accepted(ack.Sequence + 1 - ack.BatchSize)
			for _, pub := range g {
				p.settle(pub, nil)
			}
			return
		}
		rest := p.withoutDuplicates(g, err)
		if len(rest) == len(g) {
			break
		}
		g = rest
	}
	var wg sync.WaitGroup
	for _, pub := range g {
		wg.Go(func() { p.settle(pub, p.publishOne(pub.ctx, pub.msg)) })
	}
	wg.Wait()
}

func (p *Publisher) batch(g []*publication) (*jetstreamext.BatchAck, error) {
	msgs, subjects := make([]*nats.Msg, len(g)), make([]string, len(g))
	for i, pub := range g {
		subjects[i] = pub.msg.Subject
		msgs[i] = &nats.Msg{Subject: pub.msg.Subject, Data: pub.msg.Data, Header: cloneHeader(pub.msg.Header)}
	}
	ctx, done := p.requests.await(context.Background(), subjects...)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return jetstreamext.PublishMsgBatch(ctx, p.js, msgs, jetstreamext.BatchFlowControl{AckTimeout: 5 * time.Second})
}

// withoutDuplicates settles the messages of a group that made the broker refuse its batch, and returns the others. The broker does
// not name them, so it looks up the last sequence of each subject that a message has an expectation of. It returns g if err
// has another reason, and keeps a message whose lookup fails.
func (p *Publisher) withoutDuplicates(g []*publication, err error) (rest []*publication) {
	if !isWrongSequence(err) {
		return g
	}
	ctx, cancel := p.requests.answerContext(context.Background())
	defer cancel()
	refused := make([]bool, len(g))
	var lookups errgroup.Group
	lookups.SetLimit(readsAtOnce)
	for i, pub := range g {
		expected, err := strconv.ParseUint(pub.msg.Header.Get(jetstream.ExpectedLastSubjSeqHeader), 10, 64)
		if err != nil {
			continue // it has no expectation
		}
		lookups.Go(func() error {
			switch last, err := newest(ctx, p.stream, pub.msg.Subject); {
			case err == nil:
				refused[i] = last.Sequence != expected
			case errors.Is(err, jetstream.ErrMsgNotFound):
				refused[i] = expected != 0
			}
			return nil
		})
	}
	_ = lookups.Wait() // the lookups return no error
	for i, pub := range g {
		if refused[i] {
			p.settle(pub, ErrDuplicate)
		} else {
			rest = append(rest, pub)
		}
	}
	return rest
}

// isWrongSequence reports whether the broker refused a message because of its expected last subject sequence.
func isWrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// accepted records the sequence of a stored message; of a batch: the first one.
func (p *Publisher) accepted(sequence uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent.accepted(sequence)
}

// cloneHeader copies a header, because batch headers must not stay on a message that is published again on its own.
func cloneHeader(h nats.Header) nats.Header {
	out := make(nats.Header, len(h)+3)
	maps.Copy(out, h)
	return out
}

// recordAnswer records whether the broker accepts messages.
func (p *Publisher) recordAnswer(err error) {
	var api *jetstream.APIError
	if err == nil || errors.As(err, &api) && api.Code < 500 { // with such a code, the broker refuses only this message
		p.stalledSince.Store(0)
		return
	}
	p.stalledSince.CompareAndSwap(0, time.Now().UnixNano())
	p.lastFailure.Store(time.Now().UnixNano())
}

// stalledFor returns how long the broker has refused all messages. It returns 0 if none was published lately: a service that is
// reported as unhealthy gets no work, so it would not publish, and would stay unhealthy.
func (p *Publisher) stalledFor() time.Duration {
	since := p.stalledSince.Load()
	if since == 0 || time.Since(time.Unix(0, p.lastFailure.Load())) > outageTolerance/2 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

const retryPublish = 250 * time.Millisecond

// attempt publishes a message once. If the key may not write the subject, the error is nats.ErrPermissionViolation. It is
// throttled, so that no stage gives the message up.
func (p *Publisher) attempt(ctx context.Context, m *nats.Msg) error {
	ctx, done := p.requests.await(ctx, m.Subject)
	defer done()
	try, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ack, err := p.js.PublishMsg(try, m, jetstream.WithRetryAttempts(0))
	if err == nil && !ack.Duplicate {
		p.accepted(ack.Sequence)
	}
	if denied := context.Cause(ctx); err != nil && errors.Is(denied, nats.ErrPermissionViolation) {
		return &fault.Error{Class: fault.Throttled, RetryAfter: deniedWait, Err: fmt.Errorf(
			"the broker does not let this key write %s: run `provisioner keys` of this version, and give the broker the new users.conf: %w", m.Subject, denied)}
	}
	return err
}

// deniedWait is how long a stage waits before it publishes again what its key may not write.
const deniedWait = 10 * time.Second

func (p *Publisher) publishOne(ctx context.Context, m *nats.Msg) error {
	for {
		err := p.attempt(ctx, m)
		p.recordAnswer(err)
		var api *jetstream.APIError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
			return ErrDuplicate
		case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			// In a cluster: another message of the subject is being committed, which may fail. Retry to find out.
		case errors.As(err, &api) && api.Code < 500:
			return err
		case errors.Is(err, nats.ErrPermissionViolation):
			return err
		case errors.Is(err, nats.ErrMaxPayload):
			return fault.New(fault.Permanent, fmt.Errorf("message of %d bytes for %s is larger than the broker accepts (its max_payload)", len(m.Data), m.Subject))
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-p.stop:
			return err
		case <-time.After(retryPublish):
		}
	}
}
