package bus

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// refusing is a broker that answers the publishes in turn with replies, a second after each. It stores nothing.
type refusing struct {
	jetstream.JetStream
	replies []error
	n       int
}

func (r *refusing) PublishMsg(ctx context.Context, _ *nats.Msg, _ ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	r.n++
	err := r.replies[r.n-1]
	select {
	case <-time.After(time.Second):
		return &jetstream.PubAck{Sequence: uint64(r.n)}, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errStored = &jetstream.APIError{Code: 400, ErrorCode: jetstream.JSErrCodeStreamWrongLastSequence}

// publisherOf returns a publisher to the broker r, which is always connected.
func publisherOf(t *testing.T, r *refusing) *Publisher {
	p := newPublisher(r, reads{}, &requests{})
	p.epoch = func() uint64 { return 0 }
	t.Cleanup(p.close)
	return p
}

// A copy of a message in flight is answered when the message is on disk. It is published only if the message was not stored.
func TestCopyWaitsForMessageInFlight(t *testing.T) {
	errFull := &jetstream.APIError{Code: 400, ErrorCode: 1}
	for _, c := range []struct {
		name         string
		replies      []error
		firstGivesUp time.Duration // 0: never
		first, copy  error
		publishes    int
		answered     time.Duration // when the copy is answered
	}{
		{name: "stored", replies: []error{nil}, copy: ErrDuplicate, publishes: 1, answered: time.Second},
		{name: "stored before", replies: []error{errStored}, first: ErrDuplicate, copy: ErrDuplicate, publishes: 1, answered: time.Second},
		{name: "answer lost, not stored", replies: []error{nats.ErrTimeout, nil}, copy: ErrDuplicate, publishes: 2, answered: 2*time.Second + retryPublish},
		{name: "answer lost, stored", replies: []error{nats.ErrTimeout, errStored}, first: ErrDuplicate, copy: ErrDuplicate, publishes: 2, answered: 2*time.Second + retryPublish},
		{name: "refused", replies: []error{errFull, nil}, first: errFull, publishes: 2, answered: 2 * time.Second},
		{name: "the first caller gives up", replies: []error{nil, nil}, firstGivesUp: time.Second / 2, first: context.DeadlineExceeded, publishes: 2, answered: 3 * time.Second / 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker := &refusing{replies: c.replies}
				p := publisherOf(t, broker)
				m := func() *nats.Msg { return &nats.Msg{Subject: "tb.delivery._._.7.9"} }
				start, first := time.Now(), make(chan error, 1)
				go func() {
					ctx, cancel := context.WithCancel(t.Context())
					if c.firstGivesUp > 0 {
						ctx, cancel = context.WithTimeout(t.Context(), c.firstGivesUp)
					}
					defer cancel()
					first <- p.PublishNew(ctx, m())
				}()
				synctest.Wait()
				if err := p.PublishNew(t.Context(), m()); !errors.Is(err, c.copy) || time.Since(start) != c.answered {
					t.Errorf("the copy: %v after %v, want %v after %v", err, time.Since(start), c.copy, c.answered)
				}
				if err := <-first; !errors.Is(err, c.first) || broker.n != c.publishes {
					t.Errorf("the first: %v, with %d publishes; want %v with %d", err, broker.n, c.first, c.publishes)
				}
				p.close()
			})
		})
	}
}

// A subject is remembered for a minute, while the stream can't have lost it.
func TestRecentSubjects(t *testing.T) {
	now := time.Now()
	const minute = maxRecentAge
	for _, c := range []struct {
		name   string
		maxAge time.Duration
		after  func(r *recent)
		epoch  uint64 // at the time of the question; it was 5 when the message was acknowledged
		at     time.Duration
		want   bool
	}{
		{name: "at once", epoch: 5, want: true},
		{name: "within a minute", epoch: 5, at: minute - 1, want: true},
		{name: "after a minute", epoch: 5, at: minute},
		{name: "the message has expired", maxAge: time.Second, epoch: 5, at: time.Second},
		{name: "connected again", epoch: 6},
		{name: "disconnected", epoch: disconnected},
		{name: "the next commit", epoch: 5, after: func(r *recent) { r.newCommit(); r.accepted(13); r.accepted(12) }, want: true},
		{name: "in the same commit, in another order", epoch: 5, after: func(r *recent) { r.accepted(9) }, want: true},
		{name: "sequences start over", epoch: 5, after: func(r *recent) { r.newCommit(); r.accepted(11) }},
		{name: "many others", epoch: 5, after: func(r *recent) {
			for i := range maxRecent {
				r.add(fmt.Sprint(i), 5, 5, now)
			}
		}},
		{name: "another connection, then this one", epoch: 5, after: func(r *recent) { r.add("b", 6, 6, now); r.add("b", 5, 5, now) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecent(c.maxAge)
			r.newCommit()
			r.accepted(11)
			r.add("a", 5, 5, now)
			if c.after != nil {
				c.after(&r)
			}
			if got := r.has("a", c.epoch, now.Add(c.at)); got != c.want {
				t.Errorf("remembered: %v, want %v", got, c.want)
			}
			if n := len(r.current) + len(r.previous); n > maxRecent {
				t.Errorf("%d subjects", n)
			}
		})
	}
	r := newRecent(0)
	r.add("a", 4, 5, now)
	r.add("b", disconnected, disconnected, now)
	if r.has("a", 5, now) || r.has("b", disconnected, now) {
		t.Error("remembered although the connection was lost before the acknowledgement")
	}
}
