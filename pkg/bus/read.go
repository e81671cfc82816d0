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

	"github.com/tieback/tieback/pkg/bus/topology"
)

// AnswerTimeout is how long a request waits for the broker's reply. nats.go applies its own default only to contexts without
// a deadline: with a deadline hours away, a lost reply would block until then.
const AnswerTimeout = 5 * time.Second

func answerContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, AnswerTimeout)
}

// Last returns the newest message of a subject, or of all subjects that match if s was returned by Any. It returns false
// if there is none.
func (b *Bus) Last(ctx context.Context, s Subject) (Message, bool, error) {
	ctx, cancel := b.requests.answerContext(ctx)
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
	return storedMessage(s.Kind, m), true, nil
}

// streamOf returns the stream of a kind, if possible the one that setUp found, which saves a request.
func (b *Bus) streamOf(ctx context.Context, k Kind) (jetstream.Stream, error) {
	if s := b.streams[k]; s != nil {
		return s, nil
	}
	return b.js.Stream(ctx, k.Stream())
}

// newest returns a subject's newest message. When replicas are added to a bucket, its direct gets are turned off. A client
// whose cached configuration still uses them gets no responder: newest reloads the configuration and tries again.
func newest(ctx context.Context, s jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if err != nil && errors.Is(context.Cause(ctx), nats.ErrDisconnected) {
		return nil, nats.ErrDisconnected
	}
	if !errors.Is(err, nats.ErrNoResponders) {
		return m, err
	}
	if _, infoErr := s.Info(ctx); infoErr != nil {
		return nil, err
	}
	return s.GetLastMsgForSubject(ctx, subject)
}

// Has reports whether a subject has a message.
func (b *Bus) Has(ctx context.Context, s Subject) (bool, error) {
	_, has, err := b.Last(ctx, s)
	return has, err
}

// storedMessage converts a message of a stream. Its Subject is zero if the subject does not parse.
func storedMessage(k Kind, m *jetstream.RawStreamMsg) Message {
	s, _ := Parse(m.Subject)
	return Message{Subject: s, RawSubject: m.Subject, Data: m.Data, Attempt: 1, Stored: m.Time, Stream: k.Stream(), Sequence: m.Sequence}
}

// AckFloor returns the sequence up to which all of the named consumers of a kind have finished all messages (a low watermark).
// It returns math.MaxUint64 if they have nothing left to do, and 0 if one of them does not exist.
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

// consumerSettleTime is how long a new consumer may report no pending messages although it has some.
const consumerSettleTime = 2 * time.Second

// Progress returns the highest sequence that was delivered to a consumer, how many delivered messages are unfinished, and
// whether a process serves the consumer: it pulls messages, or has unfinished ones. Progress returns zeros for a consumer
// that does not exist.
func (b *Bus) Progress(ctx context.Context, k Kind, name string) (delivered uint64, unfinished int, served bool, err error) {
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

// LastSequence returns the sequence of a kind's newest message; 0: there is none.
func (b *Bus) LastSequence(ctx context.Context, k Kind) (uint64, error) {
	info, err := b.info(ctx, k)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// Retention returns how long a kind's finished messages are kept; 0: for ever.
func (b *Bus) Retention(ctx context.Context, k Kind) (time.Duration, error) {
	info, err := b.info(ctx, k)
	if err != nil {
		return 0, err
	}
	return topology.RetentionOf(info.Config), nil
}

// Created returns when a kind's stream was created, by the broker's clock. Restoring a backup creates the stream again, so the messages
// that are older than their stream are those of a backup.
func (b *Bus) Created(ctx context.Context, k Kind) (time.Time, error) {
	info, err := b.info(ctx, k)
	if err != nil {
		return time.Time{}, err
	}
	return info.Created, nil
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

// A batch has at most batchMessages messages and about batchBytes bytes: a message may have megabytes.
const (
	batchMessages = 512 // each batch costs a subscription, whose queue takes 512 KiB
	batchBytes    = 4 << 20
)

// Read calls fn for the messages of a kind from a sequence on, in order, up to those stored at until. If fn returns an error,
// Read stops at that message. Read returns the sequence to continue from.
func (b *Bus) Read(ctx context.Context, k Kind, from uint64, until time.Time, fn func(Message) error) (next uint64, err error) {
	for next = max(from, 1); ; {
		msgs, err := b.batch(ctx, k.Stream(), batchMessages, jetstreamext.GetBatchSeq(next))
		if err != nil || len(msgs) == 0 {
			return next, err
		}
		for _, m := range msgs {
			if m.Time.After(until) {
				return next, nil
			}
			if err := fn(storedMessage(k, m)); err != nil {
				return next, err
			}
			next = m.Sequence + 1
		}
	}
}

// batch reads at most n messages of a stream, in order. It returns none if there are no more.
func (b *Bus) batch(ctx context.Context, stream string, n int, opts ...jetstreamext.GetBatchOpt) ([]*jetstream.RawStreamMsg, error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	batch, err := jetstreamext.GetBatch(ctx, b.js, stream, n, append(opts, jetstreamext.GetBatchMaxBytes(batchBytes))...)
	if err != nil {
		return nil, err
	}
	var msgs []*jetstream.RawStreamMsg
	for m, err := range batch {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		msgs = append(msgs, m)
	}
	if len(msgs) == 0 { // the client ends a batch without an error when it times out
		return nil, fmt.Errorf("%s: no answer from the broker: %w", stream, cmp.Or(ctx.Err(), nats.ErrTimeout))
	}
	return msgs, nil
}

// leaderGet asks the stream's leader for the first message of a subject ("": of any) at or after a sequence, because a lagging
// replica may answer a direct get. The error is ErrMsgNotFound if there is none.
func (b *Bus) leaderGet(ctx context.Context, stream string, from uint64, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	query, err := json.Marshal(map[string]any{"seq": from, "next_by_subj": cmp.Or(subject, ">")})
	if err != nil {
		return nil, err
	}
	reply, err := b.nc.RequestWithContext(ctx, cmp.Or(b.js.Options().APIPrefix, topology.JetStreamAPI)+".STREAM.MSG.GET."+stream, query)
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

// LaggingReplicas returns the names of the servers whose replica of a stream is offline or behind its leader. A single broker
// has none.
func LaggingReplicas(c *jetstream.ClusterInfo) (offline, behind []string) {
	if c == nil {
		return nil, nil
	}
	for _, r := range c.Replicas {
		switch {
		case r.Offline:
			offline = append(offline, r.Name)
		case !r.Current:
			behind = append(behind, r.Name)
		}
	}
	return offline, behind
}
