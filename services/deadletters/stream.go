package deadletters

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
)

// scan says what to read of a kind's stream, in its order.
type scan struct {
	kind        bus.Kind
	subjects    []string  // filters that do not overlap; none: the whole stream
	since       time.Time // zero: from the start
	after       uint64    // only what has a higher sequence; used without since
	headersOnly bool
	follow      bool // go on with what is written meanwhile, until ctx ends or each returns errStop
}

// errStop ends a scan, without an error.
var errStop = errors.New("seen enough")

// prefetch is how many messages are on their way at once: a letter may weigh megabytes.
const prefetch = 500

// scan hands each message to each, in batches from the broker and not by a request apiece.
func (d *Desk) scan(ctx context.Context, s scan, each func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	stream, err := d.Bus.JetStream().Stream(ctx, s.kind.Stream())
	if err != nil {
		return fmt.Errorf("%s: %w", s.kind.Stream(), err)
	}
	last := stream.CachedInfo().State.LastSeq
	c, err := d.Bus.JetStream().OrderedConsumer(ctx, s.kind.Stream(), s.consumer())
	if err != nil {
		return fmt.Errorf("%s: %w", s.kind.Stream(), err)
	}
	if c.CachedInfo().NumPending == 0 && !s.follow {
		return nil
	}
	it, err := c.Messages(jetstream.PullMaxMessages(prefetch))
	if err != nil {
		return fmt.Errorf("%s: %w", s.kind.Stream(), err)
	}
	defer it.Stop()
	err = s.pump(ctx, it, last, each)
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

func (s scan) pump(ctx context.Context, it jetstream.MessagesContext, last uint64, each func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("%s: %w", s.kind.Stream(), err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if s.follow || meta.Sequence.Stream <= last {
			if err := each(m, meta); err != nil {
				return err
			}
		}
		if !s.follow && (meta.NumPending == 0 || meta.Sequence.Stream >= last) {
			return nil
		}
	}
}

func (s scan) consumer() jetstream.OrderedConsumerConfig {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: s.subjects, HeadersOnly: s.headersOnly, InactiveThreshold: time.Minute}
	switch {
	case !s.since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.since
	case s.after > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.after+1
	}
	return cfg
}

// age is how long a kind's messages are kept; 0: for ever.
func (d *Desk) age(ctx context.Context, k bus.Kind) (time.Duration, error) {
	stream, err := d.Bus.JetStream().Stream(ctx, k.Stream())
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().Config.MaxAge, nil
}
