package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

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
type Publisher struct {
	js           jetstream.JetStream
	stream       string
	denials      *denials
	capacity     *capacityGuard // nil: no limit
	stalledSince atomic.Int64   // since when the broker has accepted no message, in Unix nanoseconds; 0: it accepts messages
	lastFailure  atomic.Int64   // when the broker last did not accept a message, in Unix nanoseconds
	queue        chan *publication
	stop         chan struct{}
	done         sync.WaitGroup
	once         sync.Once
}

type publication struct {
	msg *nats.Msg
	ctx context.Context
	err chan error
}

func newPublisher(js jetstream.JetStream, stream string, d *denials) *Publisher {
	p := &Publisher{js: js, stream: stream, denials: d, queue: make(chan *publication, maxGroup), stop: make(chan struct{})}
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
	if err := p.capacity.check(ctx); err != nil {
		return err
	}
	inject(ctx, m)
	pub := &publication{msg: m, ctx: ctx, err: make(chan error, 1)}
	select {
	case p.queue <- pub:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.stop:
		return nats.ErrConnectionClosed
	}
	select {
	case err := <-pub.err:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-p.stop:
		return nats.ErrConnectionClosed
	}
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
			busy = len(g) >= minBatch
		}
	}
}

// From minBatch messages on, an atomic batch is faster than single messages: the broker stages each batch in its own files,
// and the syncs for them cost about as much as minBatch single messages.
const minBatch = 6

// batchDelay is how long a busy publisher waits for more messages. It waits only if enough for a batch are queued already, so that
// a single message after a burst is not delayed.
const batchDelay = 10 * time.Millisecond

func (p *Publisher) group(first *publication, busy bool) []*publication {
	g := []*publication{first}
	if busy && len(p.queue)+1 >= minBatch {
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

// commit publishes a group in one atomic batch. If the group is small, or the broker refuses the batch (one bad message
// suffices), each message is published alone and gets its own error.
func (p *Publisher) commit(g []*publication) {
	if len(g) >= minBatch && p.batch(g) == nil {
		p.recordAnswer(nil)
		for _, pub := range g {
			pub.err <- nil
		}
		return
	}
	var wg sync.WaitGroup
	for _, pub := range g {
		wg.Go(func() { pub.err <- p.publishOne(pub.ctx, pub.msg) })
	}
	wg.Wait()
}

func (p *Publisher) batch(g []*publication) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	msgs := make([]*nats.Msg, len(g))
	for i, pub := range g {
		msgs[i] = &nats.Msg{Subject: pub.msg.Subject, Data: pub.msg.Data, Header: cloneHeader(pub.msg.Header)}
	}
	_, err := jetstreamext.PublishMsgBatch(ctx, p.js, msgs, jetstreamext.BatchFlowControl{AckTimeout: 5 * time.Second})
	return err
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
	ctx, done := p.denials.await(ctx, m.Subject)
	defer done()
	try, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := p.js.PublishMsg(try, m, jetstream.WithRetryAttempts(0))
	if denied := context.Cause(ctx); err != nil && errors.Is(denied, nats.ErrPermissionViolation) {
		return &fault.Error{Class: fault.Throttled, RetryAfter: deniedWait, Err: fmt.Errorf(
			"the broker does not let this key write %s: run `provisioner keys` of this version, and give the broker the new users.conf: %w", m.Subject, denied)}
	}
	return err
}

// denials are the publishes of a connection that wait for a reply. The broker does not reply if the key lacks the permission: it
// sends an error of the connection, which names the subject. The zero value is usable, concurrently.
type denials struct {
	mu      sync.Mutex
	waiting map[*awaited]bool
}

// awaited is a publish that waits for a reply.
type awaited struct {
	subject string
	deny    context.CancelCauseFunc
}

// await returns a context that ends with nats.ErrPermissionViolation as its cause if the broker denies a publish to subject
// before done is called.
func (d *denials) await(ctx context.Context, subject string) (_ context.Context, done func()) {
	ctx, deny := context.WithCancelCause(ctx)
	a := &awaited{subject, deny}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = map[*awaited]bool{}
	}
	d.waiting[a] = true
	return ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.waiting, a)
		deny(nil)
	}
}

// report ends the publishes that an error of the connection denies.
func (d *denials) report(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for a := range d.waiting {
		if strings.Contains(err.Error(), strconv.Quote(a.subject)) {
			a.deny(err)
		}
	}
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
