package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Scan says what to read of a kind's stream, in its order: for people and reports, who read much
// at once. Read is for a service that looks at a few messages again and again.
type Scan struct {
	Kind        Kind
	Subjects    []string  // filters that do not overlap; none: the whole stream
	Since       time.Time // stored since then; zero: from the start
	After       uint64    // only what has a higher sequence; used without Since
	HeadersOnly bool      // without Data
	Follow      bool      // go on with what is written meanwhile, until ctx ends or each returns ErrSeen
}

// ErrSeen ends a scan, without an error.
var ErrSeen = errors.New("seen enough")

const (
	// prefetch is how many messages are on their way at once: a letter may weigh megabytes.
	prefetch = 500
	// quiet is how long a stream may say nothing until it is asked whether there is more.
	quiet = 5 * time.Second
	// mostQuiet is how often in a row it may then say that there is, or not answer, and still send
	// nothing: a consumer that was lost with its broker would be waited for for ever.
	mostQuiet = 3
)

// Scan hands each message to each, up to the one that was the last when it began. Messages come
// in batches, not by a request apiece, through a consumer that ends with the scan. An error
// of each ends it, and so does a broker that sends nothing any more, after half a minute at most:
// what was handed over by then was right, and doing it all again is too.
func (b *Bus) Scan(ctx context.Context, s Scan, each func(Message) error) error {
	if err := b.scan(ctx, s, each); !errors.Is(err, ErrSeen) {
		return about(s.Kind.Stream(), err)
	}
	return nil
}

func (b *Bus) scan(ctx context.Context, s Scan, each func(Message) error) error {
	last, err := b.LastSequence(ctx, s.Kind)
	if err != nil {
		return err
	}
	c, err := b.ordered(ctx, s)
	if err != nil {
		return err
	}
	defer b.forget(ctx, s.Kind, c)
	if c.CachedInfo().NumPending == 0 && !s.Follow {
		return nil
	}
	it, err := c.Messages(jetstream.PullMaxMessages(prefetch))
	if err != nil {
		return err
	}
	defer it.Stop()
	return s.pump(ctx, c, it, last, each)
}

func (b *Bus) ordered(ctx context.Context, s Scan) (jetstream.Consumer, error) {
	ctx, cancel := brief(ctx)
	defer cancel()
	return b.js.OrderedConsumer(ctx, s.Kind.Stream(), s.consumer())
}

// forget has the broker drop a scan's consumer now, and not when it was idle for minutes: a list of
// consumers is where an operator looks for lag.
func (b *Bus) forget(ctx context.Context, k Kind, c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = b.js.DeleteConsumer(ctx, k.Stream(), c.CachedInfo().Name) // it goes by itself then
}

func (s Scan) pump(ctx context.Context, c jetstream.Consumer, it jetstream.MessagesContext, last uint64, each func(Message) error) error {
	for silent := 0; ; silent = 0 {
		m, err := next(ctx, it)
		for ; errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil; m, err = next(ctx, it) {
			info, failed := infoOf(ctx, c)
			switch {
			case failed == nil && info.NumPending == 0 && !s.Follow:
				return nil // the last ones were deleted meanwhile
			case failed == nil && info.NumPending == 0:
				silent = 0 // nothing to follow just now
			case silent+1 == mostQuiet:
				return fmt.Errorf("the broker sends nothing any more: %w", errors.Join(err, failed))
			default:
				silent++
			}
		}
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if s.Follow || meta.Sequence.Stream <= last {
			if err := each(scanned(m, meta)); err != nil {
				return err
			}
		}
		if !s.Follow && (meta.NumPending == 0 || meta.Sequence.Stream >= last) {
			return nil
		}
	}
}

func infoOf(ctx context.Context, c jetstream.Consumer) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := brief(ctx)
	defer cancel()
	return c.Info(ctx)
}

func next(ctx context.Context, it jetstream.MessagesContext) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	return it.Next(jetstream.NextContext(ctx))
}

// scanned is a message as it lies in its stream; Subject is zero where its subject does not parse.
func scanned(m jetstream.Msg, meta *jetstream.MsgMetadata) Message {
	s, _ := Parse(m.Subject())
	return Message{Subject: s, Raw: m.Subject(), Data: m.Data(), Attempt: 1, Stored: meta.Timestamp, Stream: meta.Stream, Sequence: meta.Sequence.Stream}
}

func (s Scan) consumer() jetstream.OrderedConsumerConfig {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: s.Subjects, HeadersOnly: s.HeadersOnly, InactiveThreshold: time.Minute}
	switch {
	case !s.Since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.Since
	case s.After > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.After+1
	}
	return cfg
}
