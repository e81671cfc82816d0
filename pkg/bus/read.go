package bus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// Last gives a subject's message; false: it has none.
func (b *Bus) Last(ctx context.Context, s Subject) (Message, bool, error) {
	stream, err := b.js.Stream(ctx, s.Kind.Stream())
	if err != nil {
		return Message{}, false, err
	}
	m, err := stream.GetLastMsgForSubject(ctx, s.String())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Message{}, false, nil
	}
	if err != nil {
		return Message{}, false, err
	}
	return stored(s.Kind, m), true, nil
}

// Has says whether a subject has its message.
func (b *Bus) Has(ctx context.Context, s Subject) (bool, error) {
	_, has, err := b.Last(ctx, s)
	return has, err
}

// stored is a message as it lies in its stream; Subject is zero where its subject does not parse.
func stored(k Kind, m *jetstream.RawStreamMsg) Message {
	s, _ := Parse(m.Subject)
	return Message{Subject: s, Raw: m.Subject, Data: m.Data, Attempt: 1, Stored: m.Time, Stream: k.Stream(), Sequence: m.Sequence}
}

// Floor is the sequence up to which the consumers of a kind have finished every message; the
// highest there is where they have nothing left to do. A consumer that was never made has
// finished none.
func (b *Bus) Floor(ctx context.Context, k Kind, consumers ...string) (uint64, error) {
	floor := uint64(math.MaxUint64)
	for _, name := range consumers {
		c, err := b.js.Consumer(ctx, k.Stream(), name)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("consumer %s: %w", name, err)
		}
		info := c.CachedInfo()
		if info.NumPending > 0 || info.NumAckPending > 0 {
			floor = min(floor, info.AckFloor.Stream)
		}
	}
	return floor, nil
}

// LastSequence is the sequence of a kind's newest message; 0: there is none.
func (b *Bus) LastSequence(ctx context.Context, k Kind) (uint64, error) {
	stream, err := b.js.Stream(ctx, k.Stream())
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// batchRead is how many messages are read from a stream at a time.
const batchRead = 256

// Read gives each message of a kind from a sequence on, in their order, up to those stored at
// until. It returns the sequence to go on from; an error of each ends it at that message.
func (b *Bus) Read(ctx context.Context, k Kind, from uint64, until time.Time, each func(Message) error) (next uint64, err error) {
	for next = max(from, 1); ; {
		before := next
		batch, err := jetstreamext.GetBatch(ctx, b.js, k.Stream(), batchRead, jetstreamext.GetBatchSeq(next))
		if err != nil {
			return next, err
		}
		for m, err := range batch {
			if errors.Is(err, jetstreamext.ErrNoMessages) {
				return next, nil
			}
			if err != nil {
				return next, err
			}
			if m.Time.After(until) {
				return next, nil
			}
			if err := each(stored(k, m)); err != nil {
				return next, err
			}
			next = m.Sequence + 1
		}
		if next == before {
			return next, nil
		}
	}
}
