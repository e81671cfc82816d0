package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// AnswerTimeout is how long the broker has for one answer. nats.go applies its default timeout only to contexts
// without a deadline: with a deadline hours away, a lost reply would block until then.
const AnswerTimeout = 5 * time.Second

func answerContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, AnswerTimeout)
}

// Last gives a subject's message, the newest where the subject is one of Any; false: it has none.
func (b *Bus) Last(ctx context.Context, s Subject) (Message, bool, error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	stream, err := b.streamOf(ctx, s.Kind)
	if err != nil {
		return Message{}, false, err
	}
	m, err := newest(ctx, stream, s.String())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Message{}, false, nil
	}
	if err != nil {
		return Message{}, false, err
	}
	return stored(s.Kind, m), true, nil
}

// streamOf gives the stream of a kind: the one that setUp found, so that a lookup is one request.
func (b *Bus) streamOf(ctx context.Context, k Kind) (jetstream.Stream, error) {
	if s := b.streams[k]; s != nil {
		return s, nil
	}
	return b.js.Stream(ctx, k.Stream())
}

// newest gives a subject's newest message. Where replicas are raised while we run, only the leader
// answers from then on: nobody hears who asks as before, and the stream must be looked at anew.
func newest(ctx context.Context, s jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if !errors.Is(err, nats.ErrNoResponders) {
		return m, err
	}
	if _, unknown := s.Info(ctx); unknown != nil {
		return nil, err
	}
	return s.GetLastMsgForSubject(ctx, subject)
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
func (b *Bus) AckFloor(ctx context.Context, k Kind, consumers ...string) (uint64, error) {
	floor := uint64(math.MaxUint64)
	for _, name := range consumers {
		c, err := b.consumer(ctx, k, name)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("consumer %s: %w", name, err)
		}
		info := c.CachedInfo()
		if info.NumPending > 0 || info.NumAckPending > 0 || time.Since(info.Created) < consumerSettleTime {
			floor = min(floor, info.AckFloor.Stream)
		}
	}
	return floor, nil
}

// settling is how long a consumer that was just made may say that there is nothing to do, and not know yet.
const consumerSettleTime = 2 * time.Second

// Handed says up to which sequence a consumer was handed messages, how many of those it has not finished, and
// whether a process takes its work: one asks for messages, or was handed some. A consumer that was never made
// takes none.
func (b *Bus) Progress(ctx context.Context, k Kind, name string) (delivered uint64, unfinished int, taken bool, err error) {
	c, err := b.consumer(ctx, k, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, fmt.Errorf("consumer %s: %w", name, err)
	}
	info := c.CachedInfo()
	return info.Delivered.Stream, info.NumAckPending, info.NumWaiting > 0 || info.NumAckPending > 0, nil
}

func (b *Bus) consumer(ctx context.Context, k Kind, name string) (jetstream.Consumer, error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	return b.js.Consumer(ctx, k.Stream(), name)
}

// LastSequence is the sequence of a kind's newest message; 0: there is none.
func (b *Bus) LastSequence(ctx context.Context, k Kind) (uint64, error) {
	info, err := b.info(ctx, k)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// Kept is how long a kind's messages are kept; 0: for ever.
func (b *Bus) Retention(ctx context.Context, k Kind) (time.Duration, error) {
	info, err := b.info(ctx, k)
	if err != nil {
		return 0, err
	}
	return info.Config.MaxAge, nil
}

func (b *Bus) info(ctx context.Context, k Kind) (*jetstream.StreamInfo, error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	stream, err := b.js.Stream(ctx, k.Stream())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.Stream(), err)
	}
	return stream.CachedInfo(), nil
}

// A batch has so many messages at most, and takes about so many bytes: a message may weigh megabytes.
const (
	batchRead  = 256
	batchBytes = 4 << 20
)

// Read gives each message of a kind from a sequence on, in their order, up to those stored at
// until. It returns the sequence to go on from; an error of each ends it at that message.
func (b *Bus) Read(ctx context.Context, k Kind, from uint64, until time.Time, each func(Message) error) (next uint64, err error) {
	for next = max(from, 1); ; {
		some, err := b.batch(ctx, k, batchRead, jetstreamext.GetBatchSeq(next))
		if err != nil || len(some) == 0 {
			return next, err
		}
		for _, m := range some {
			if m.Time.After(until) {
				return next, nil
			}
			if err := each(stored(k, m)); err != nil {
				return next, err
			}
			next = m.Sequence + 1
		}
	}
}

// batch reads the next messages of a kind's stream, n at most, in their order; none: there are no more.
func (b *Bus) batch(ctx context.Context, k Kind, n int, opts ...jetstreamext.GetBatchOpt) ([]*jetstream.RawStreamMsg, error) {
	return b.batchOf(ctx, k.Stream(), n, opts...)
}

func (b *Bus) batchOf(ctx context.Context, stream string, n int, opts ...jetstreamext.GetBatchOpt) ([]*jetstream.RawStreamMsg, error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	batch, err := jetstreamext.GetBatch(ctx, b.js, stream, n, append(opts, jetstreamext.GetBatchMaxBytes(batchBytes))...)
	if err != nil {
		return nil, err
	}
	var some []*jetstream.RawStreamMsg
	for m, err := range batch {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		some = append(some, m)
	}
	if len(some) == 0 { // the client ends a batch without a word when its time is over
		return nil, fmt.Errorf("%s: no answer from the broker: %w", stream, cmp.Or(ctx.Err(), nats.ErrTimeout))
	}
	return some, nil
}

// leaderGet asks the leader of a stream for the first message of a subject from a sequence on; else
// ErrMsgNotFound. Direct gets may be answered by a replica that lags behind.
func (b *Bus) leaderGet(ctx context.Context, stream string, from uint64, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	query, err := json.Marshal(map[string]any{"seq": from, "next_by_subj": cmp.Or(subject, ">")})
	if err != nil {
		return nil, err
	}
	reply, err := b.nc.RequestWithContext(ctx, b.apiSubject("STREAM.MSG.GET."+stream), query)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	switch err := json.Unmarshal(reply.Data, &answer); {
	case err != nil:
		return nil, err
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case answer.Error != nil:
		return nil, answer.Error
	}
	m := answer.Message
	return &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Sequence, Data: m.Data, Time: m.Time}, nil
}

func (b *Bus) apiSubject(of string) string {
	return cmp.Or(b.js.Options().APIPrefix, jetStreamAPI) + "." + of
}
