package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/tieback/tieback/pkg/fault"
)

// ErrDuplicate is returned by Publish when the subject has its one message already.
// To a stage of the pipeline that is as good as success: the work was handed on before.
var ErrDuplicate = errors.New("already published")

// maxGroup is how many messages share a commit. The broker's limit is 1,000.
const maxGroup = 500

// Publisher writes to one stream with group commit: whatever is published while one
// commit is under way goes into the next as one atomic batch, and shares its fsync. A
// lone message, or a few, are written at once. Publish may be called concurrently.
type Publisher struct {
	js           jetstream.JetStream
	stream       string
	capacity     *capacityGuard // nil: no end
	stalledSince atomic.Int64   // since when, in Unix nanoseconds, nothing was taken; 0: the last was
	lastFailure  atomic.Int64   // when something was last not taken
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

func newPublisher(js jetstream.JetStream, stream string) *Publisher {
	p := &Publisher{js: js, stream: stream, queue: make(chan *publication, maxGroup), stop: make(chan struct{})}
	p.done.Go(p.run)
	return p
}

// Once makes m the only message its subject will ever have.
func IfAbsent(m *nats.Msg) *nats.Msg {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
	return m
}

// Publish returns when the broker has m on disk, ErrDuplicate if m was made with Once and
// its subject has a message, or another error when ctx ends first: then m may or may not
// be on disk, and publishing it again is right. It retries while the broker is away. A new
// delivery is refused while the streams are full; see Options.MaxBytes.
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

// worthABatch is from how many messages on an atomic batch beats writing each alone: the
// broker stages a batch in files of its own, which costs about as many syncs.
const minBatch = 6

// linger is how long a busy publisher waits for more company. Only where there is enough for a batch
// already: one message behind somebody else's burst waits for nobody.
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

// commit writes a group in one atomic batch. If the batch is refused, which one message
// can cause for all, each is published alone and gets a verdict of its own.
func (p *Publisher) commit(g []*publication) {
	if len(g) >= minBatch && p.batch(g) == nil {
		p.recordAnswer(nil)
		for _, pub := range g {
			pub.err <- nil
		}
		return
	}
	var each sync.WaitGroup
	for _, pub := range g {
		each.Go(func() { pub.err <- p.publishOne(pub.ctx, pub.msg) })
	}
	each.Wait()
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

// cloneHeader keeps the batch's own headers out of a message that may be published again alone.
func cloneHeader(h nats.Header) nats.Header {
	out := make(nats.Header, len(h)+3)
	for k, v := range h {
		out[k] = v
	}
	return out
}

// answered notes whether the broker takes messages at all.
func (p *Publisher) recordAnswer(err error) {
	var api *jetstream.APIError
	if err == nil || errors.As(err, &api) && api.Code < 500 { // an answer is an answer
		p.stalledSince.Store(0)
		return
	}
	p.stalledSince.CompareAndSwap(0, time.Now().UnixNano())
	p.lastFailure.Store(time.Now().UnixNano())
}

// stuckFor is how long the broker has taken nothing although it is asked to. Where nobody has asked
// lately nothing is known: whoever is kept out as unhealthy would else never find out.
func (p *Publisher) stalledFor() time.Duration {
	since := p.stalledSince.Load()
	if since == 0 || time.Since(time.Unix(0, p.lastFailure.Load())) > outageTolerance/2 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

const retryPublish = 250 * time.Millisecond

func (p *Publisher) publishOne(ctx context.Context, m *nats.Msg) error {
	for {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := p.js.PublishMsg(try, m, jetstream.WithRetryAttempts(0))
		cancel()
		p.recordAnswer(err)
		var api *jetstream.APIError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
			return ErrDuplicate
		case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			// Of a cluster: another message of the subject is being committed. It may still fail; asked again, we are told.
		case errors.As(err, &api) && api.Code < 500:
			return err
		case errors.Is(err, nats.ErrMaxPayload):
			return fault.New(fault.Permanent, fmt.Errorf("message of %d bytes for %s is larger than the broker takes (its max_payload)", len(m.Data), m.Subject))
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
