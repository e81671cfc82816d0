package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// SetUp creates the streams, buckets and durable consumers, or updates their configuration to this version; messages are
// kept. It waits for the broker until ctx ends, and calls report with the result for each of them; see topology.Changes.
// It is idempotent, and services may run in the meantime.
func SetUp(ctx context.Context, o Options, report func(what, result string)) error {
	b, err := dial(o)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.waitForBroker(ctx); err != nil {
		return err
	}
	for _, spec := range topology.Streams(o.topology()) {
		s, before, err := b.ensureStream(ctx, spec)
		if err != nil {
			return err
		}
		report("stream "+spec.Name, topology.Changes(before, s.CachedInfo().Config, s.CachedInfo().Config.Metadata))
	}
	for _, d := range topology.Durables() {
		c, before, err := b.ensureConsumer(ctx, d, defaultAckWait)
		if err != nil {
			return err
		}
		report("consumer "+d.Name+" of "+d.Kind.Stream(), topology.Changes(before, c.CachedInfo().Config, c.CachedInfo().Config.Metadata))
	}
	return nil
}

// stream returns a stream. It creates or updates it; if the topology is managed, it waits until the stream exists instead.
func (b *Bus) stream(ctx context.Context, spec topology.Stream) (jetstream.Stream, error) {
	if b.managed {
		return await(ctx, b, "stream "+spec.Name, func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, spec.Name) })
	}
	s, _, err := b.ensureStream(ctx, spec)
	return s, err
}

// durable returns a durable consumer. It creates or updates it; if the topology is managed, it waits until the consumer
// exists instead.
func (b *Bus) durable(ctx context.Context, d topology.Durable, ackWait time.Duration) (jetstream.Consumer, error) {
	if b.managed {
		return await(ctx, b, "consumer "+d.Name, func(ctx context.Context) (jetstream.Consumer, error) {
			return b.js.Consumer(ctx, d.Kind.Stream(), d.Name)
		})
	}
	c, _, err := b.ensureConsumer(ctx, d, ackWait)
	return c, err
}

// ensureStream creates a stream, or updates its configuration, unless a newer version wrote it. before is the previous
// configuration; nil: the stream did not exist.
func (b *Bus) ensureStream(ctx context.Context, spec topology.Stream) (s jetstream.Stream, before *jetstream.StreamConfig, err error) {
	s, err = create(ctx, b, "stream "+spec.Name, func(ctx context.Context) (jetstream.Stream, error) {
		s, err := b.js.Stream(ctx, spec.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return b.js.CreateOrUpdateStream(ctx, spec.For(nil))
		}
		if err != nil {
			return nil, err
		}
		before = &s.CachedInfo().Config
		if topology.IsNewer(before.Metadata) {
			return s, nil
		}
		cfg := spec.For(before)
		if spec.Volatile && (cfg.Storage != before.Storage || cfg.PersistMode != before.PersistMode) {
			if err := b.js.DeleteStream(ctx, spec.Name); err != nil && !isNotFound(err) {
				return nil, err
			}
		}
		return b.js.CreateOrUpdateStream(ctx, cfg)
	})
	return s, before, err
}

// ensureConsumer is ensureStream for a durable consumer.
func (b *Bus) ensureConsumer(ctx context.Context, d topology.Durable, ackWait time.Duration) (c jetstream.Consumer, before *jetstream.ConsumerConfig, err error) {
	c, err = create(ctx, b, "consumer "+d.Name, func(ctx context.Context) (jetstream.Consumer, error) {
		c, err := b.js.Consumer(ctx, d.Kind.Stream(), d.Name)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, err
		}
		if err == nil {
			if before = &c.CachedInfo().Config; topology.IsNewer(before.Metadata) {
				return c, nil
			}
		}
		return b.js.CreateOrUpdateConsumer(ctx, d.Kind.Stream(), d.Config(ackWait))
	})
	return c, before, err
}

// createTimeout bounds one attempt to create or look up a stream or a consumer. It is long enough for an election.
const createTimeout = 5 * time.Second

// create calls f to create or update a stream or a consumer, and retries until ctx ends: a cluster without a leader replies
// late or not at all. It logs each reason once. A permanent refusal is returned at once.
func create[T any](ctx context.Context, b *Bus, what string, f func(context.Context) (T, error)) (T, error) {
	for logged := ""; ; {
		before := b.nc.LastError()
		try, cancel := context.WithTimeout(ctx, createTimeout)
		created, err := f(try)
		cancel()
		// The broker does not reply to a request without permission. It sends the violation as an error of the connection.
		if denied := b.nc.LastError(); err != nil && denied != before && errors.Is(denied, nats.ErrPermissionViolation) {
			return created, fmt.Errorf("%s: this key may not create it: set TIEBACK_NATS_TOPOLOGY=managed and run `provisioner`: %w", what, denied)
		}
		var api *jetstream.APIError
		if err == nil || ctx.Err() != nil || isPermanent(err) {
			return created, wrap(what, err)
		}
		if errors.As(err, &api) && err.Error() != logged { // unlike a timeout, a refusal may need the operator's attention
			logged = err.Error()
			b.log.Warn("the broker refused to create a stream or a consumer, retrying", zap.String("what", what), zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return created, wrap(what, err)
		case <-time.After(retryPublish):
		}
	}
}

// await waits until a stream or a consumer that the provisioner creates exists, and logs each reason once. The reason
// distinguishes a missing stream or consumer from a broker that does not reply because it is recovering or has no leader.
func await[T any](ctx context.Context, b *Bus, what string, f func(context.Context) (T, error)) (T, error) {
	var reason error
	for {
		before := b.nc.LastError()
		try, cancel := context.WithTimeout(ctx, createTimeout)
		found, err := f(try)
		cancel()
		if err == nil {
			b.conn.set(nil)
			return found, nil
		}
		// After ctx has ended, keep the earlier reason, if there is one: err only says that ctx ended.
		if ctx.Err() == nil || reason == nil {
			previous, last := reason, b.nc.LastError()
			if denied := last != before && errors.Is(last, nats.ErrPermissionViolation); denied || isNotFound(err) {
				reason = fmt.Errorf("%s does not exist: run `provisioner`; with TIEBACK_NATS_TOPOLOGY=managed nothing else creates it: %w", what, err)
			} else {
				reason = fmt.Errorf("%s: %w, or it has no leader: %w", what, ErrRecovering, err)
			}
			b.conn.set(reason)
			if previous == nil || previous.Error() != reason.Error() {
				b.log.Warn("waiting for the broker, or for `provisioner` to create streams and consumers", zap.String("for", what), zap.Error(reason))
			}
		}
		select {
		case <-ctx.Done():
			return found, reason
		case <-time.After(retryPublish):
		}
	}
}

// errNoPeers is the error code for a stream that needs more replicas than there are nodes online, for example while a
// cluster starts. Its status is 400, although it is transient.
const errNoPeers jetstream.ErrorCode = 10005

// isPermanent reports whether the broker would refuse the request again.
func isPermanent(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code < 500 && api.ErrorCode != errNoPeers
}

// isNotFound reports whether the broker replied that a stream or a consumer does not exist.
func isNotFound(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound)
}

// wrap prefixes an error; nil stays nil.
func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
