package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// SetUp creates the streams, buckets and durable consumers, or updates their configuration to this version; messages are
// kept. It waits for the broker until ctx ends, and calls report for each with what was done; see
// topology.Changes. It is idempotent, and services may run in the meantime.
func SetUp(ctx context.Context, o Options, report func(what, done string)) error {
	b, err := dial(o)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.waitForBroker(ctx); err != nil {
		return err
	}
	for _, w := range topology.Streams(o.topology()) {
		s, before, err := b.ensure(ctx, w)
		if err != nil {
			return err
		}
		report("stream "+w.Name, topology.Changes(before, s.CachedInfo().Config, s.CachedInfo().Config.Metadata))
	}
	for _, d := range topology.Durables() {
		c, before, err := b.ensureDurable(ctx, d, defaultAckWait)
		if err != nil {
			return err
		}
		report("consumer "+d.Name+" of "+d.Kind.Stream(), topology.Changes(before, c.CachedInfo().Config, c.CachedInfo().Config.Metadata))
	}
	return nil
}

// ensureDurable creates a consumer, or updates its configuration, unless a newer version wrote it. before is the previous
// configuration; nil: it did not exist.
func (b *Bus) ensureDurable(ctx context.Context, d topology.Durable, ackWait time.Duration) (made jetstream.Consumer, before *jetstream.ConsumerConfig, err error) {
	made, err = create(ctx, b, "consumer "+d.Name, func(ctx context.Context) (jetstream.Consumer, error) {
		c, err := b.js.Consumer(ctx, d.Kind.Stream(), d.Name)
		switch {
		case err == nil && topology.IsNewer(c.CachedInfo().Config.Metadata):
			before = &c.CachedInfo().Config
			return c, nil
		case err == nil:
			before = &c.CachedInfo().Config
		case !errors.Is(err, jetstream.ErrConsumerNotFound):
			return nil, err
		}
		return b.js.CreateOrUpdateConsumer(ctx, d.Kind.Stream(), d.Config(ackWait))
	})
	return made, before, err
}

// consumerFor returns a durable consumer. It creates or updates it; if the topology is managed, it waits until the
// consumer exists instead.
func (b *Bus) consumerFor(ctx context.Context, d topology.Durable, ackWait time.Duration) (jetstream.Consumer, error) {
	what := "consumer " + d.Name
	if b.managed {
		return await(ctx, b, what, func(ctx context.Context) (jetstream.Consumer, error) {
			return b.js.Consumer(ctx, d.Kind.Stream(), d.Name)
		})
	}
	c, _, err := b.ensureDurable(ctx, d, ackWait)
	return c, err
}
