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

// createTimeout bounds one attempt to create or look up a stream or a consumer; it covers an election.
const createTimeout = 5 * time.Second

// errNoPeers is the error code for a stream that needs more replicas than there are nodes online, for example while a
// cluster starts. Its HTTP-like status is 400, although it is transient.
const errNoPeers jetstream.ErrorCode = 10005

// isPermanent reports whether the broker would refuse a repeated request to create something in the same way.
func isPermanent(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code < 500 && api.ErrorCode != errNoPeers
}

// create calls f to create or update a stream or a consumer, and retries until ctx ends: a cluster without a leader replies
// late or not at all. It logs each reason once. A permanent refusal is returned at once.
func create[T any](ctx context.Context, b *Bus, what string, f func(context.Context) (T, error)) (T, error) {
	nc := b.nc
	for logged := ""; ; {
		before := nc.LastError()
		try, cancel := context.WithTimeout(ctx, createTimeout)
		made, err := f(try)
		cancel()
		if denied := nc.LastError(); err != nil && denied != before && errors.Is(denied, nats.ErrPermissionViolation) { // the broker does not reply to such a request
			return made, fmt.Errorf("%s: this key has no permission to create it: set TIEBACK_NATS_TOPOLOGY=managed and run `provisioner`: %w", what, denied)
		}
		var api *jetstream.APIError
		if err == nil || ctx.Err() != nil || isPermanent(err) {
			return made, wrap(what, err)
		}
		if errors.As(err, &api) && err.Error() != logged { // a reply, unlike a timeout, may be permanent
			logged = err.Error()
			b.log.Warn("the broker refused to create a stream or a consumer, retrying", zap.String("what", what), zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return made, wrap(what, err)
		case <-time.After(retryPublish):
		}
	}
}

// await waits until a stream or a consumer that the provisioner creates exists, and logs each reason once. It distinguishes
// a missing one from a broker that does not reply because it is recovering or has no leader.
func await[T any](ctx context.Context, b *Bus, what string, f func(context.Context) (T, error)) (T, error) {
	var why error
	for {
		before := b.nc.LastError()
		try, cancel := context.WithTimeout(ctx, createTimeout)
		found, err := f(try)
		cancel()
		if err == nil {
			b.conn.set(nil)
			return found, nil
		}
		if ctx.Err() == nil || why == nil { // otherwise ctx is the only reason
			was, last := why, b.nc.LastError()
			if denied := last != before && errors.Is(last, nats.ErrPermissionViolation); denied || isNotFound(err) {
				why = fmt.Errorf("%s is missing, and with TIEBACK_NATS_TOPOLOGY=managed only `provisioner` creates it: run it: %w", what, err)
			} else {
				why = fmt.Errorf("%s: %w, or has no leader for it: %w", what, ErrRecovering, err)
			}
			b.conn.set(why)
			if was == nil || was.Error() != why.Error() {
				b.log.Warn("waiting for the broker, or for `provisioner` to create streams and consumers", zap.String("for", what), zap.Error(why))
			}
		}
		select {
		case <-ctx.Done():
			return found, why
		case <-time.After(retryPublish):
		}
	}
}

// isNotFound reports whether the broker replied that a stream or a consumer does not exist.
func isNotFound(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound)
}

// stream returns a stream. It creates or updates it; if the topology is managed, it waits until the stream exists instead.
func (b *Bus) stream(ctx context.Context, w topology.Stream) (jetstream.Stream, error) {
	if b.managed {
		return await(ctx, b, "stream "+w.Name, func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, w.Name) })
	}
	s, _, err := b.ensure(ctx, w)
	return s, err
}

// ensure creates a stream, or updates its configuration, unless a newer version wrote it. before is the previous
// configuration; nil: it did not exist.
func (b *Bus) ensure(ctx context.Context, w topology.Stream) (made jetstream.Stream, before *jetstream.StreamConfig, err error) {
	js := b.js
	made, err = create(ctx, b, "stream "+w.Name, func(ctx context.Context) (jetstream.Stream, error) {
		s, err := js.Stream(ctx, w.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return js.CreateOrUpdateStream(ctx, w.For(0))
		}
		if err != nil {
			return nil, err
		}
		before = &s.CachedInfo().Config
		if topology.IsNewer(before.Metadata) {
			return s, nil
		}
		cfg := w.For(before.Replicas)
		if w.Volatile && (cfg.Storage != before.Storage || cfg.PersistMode != before.PersistMode) {
			if err := js.DeleteStream(ctx, w.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil, err
			}
		}
		return js.CreateOrUpdateStream(ctx, cfg)
	})
	return made, before, err
}

// wrap prefixes an error; nil stays nil.
func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
