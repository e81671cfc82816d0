package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// makePatience is how long one try at making a stream or a consumer may take: an election.
const createTimeout = 5 * time.Second

// insist makes a stream or a consumer, again and again until ctx ends: a cluster that has no
// leader just now answers late or not at all, and why is told once. A refusal that will not pass ends it.
func create[T any](ctx context.Context, b *Bus, what string, f func(context.Context) (T, error)) (T, error) {
	nc := b.nc
	for told := ""; ; {
		before := nc.LastError()
		try, cancel := context.WithTimeout(ctx, createTimeout)
		made, err := f(try)
		cancel()
		if said := nc.LastError(); err != nil && said != before && errors.Is(said, nats.ErrPermissionViolation) { // asked in vain: it gives no answer
			return made, fmt.Errorf("%s: this key may not make it; is it TIEBACK_NATS_TOPOLOGY=managed here, and `provisioner` that makes it? (%w)", what, said)
		}
		var api *jetstream.APIError
		if err == nil || ctx.Err() != nil || errors.As(err, &api) && api.Code < 500 {
			return made, wrap(what, err)
		}
		if api != nil && err.Error() != told { // as against no answer: it may be for good
			told = err.Error()
			b.log.Warn("the broker does not make it, asking again", zap.String("what", what), zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return made, wrap(what, err)
		case <-time.After(retryPublish):
		}
	}
}

// find waits until a stream or a consumer that others make is there, and logs each reason once. A broker that says
// it is missing differs from one that does not answer, as it is still recovering or has no leader.
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
		if ctx.Err() == nil || why == nil { // else it failed only because ctx ended
			was, said := why, b.nc.LastError()
			if denied := said != before && errors.Is(said, nats.ErrPermissionViolation); denied || isNotFound(err) {
				why = fmt.Errorf("%s is not to be had, and TIEBACK_NATS_TOPOLOGY=managed leaves it to `provisioner` to make it: %w", what, err)
			} else {
				why = fmt.Errorf("%s: %w, or has no leader for it: %w", what, ErrRecovering, err)
			}
			b.conn.set(why)
			if was == nil || was.Error() != why.Error() {
				b.log.Warn("waiting for the broker, or for what `provisioner` makes there", zap.String("for", what), zap.Error(why))
			}
		}
		select {
		case <-ctx.Done():
			return found, why
		case <-time.After(retryPublish):
		}
	}
}

// missing says whether the broker answered that a stream or a consumer does not exist.
func isNotFound(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound)
}

// stream gives a stream: makes it or brings it up to this version, or waits until it is there.
func (b *Bus) stream(ctx context.Context, w streamSpec) (jetstream.Stream, error) {
	if b.managed {
		return await(ctx, b, "stream "+w.Name, func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, w.Name) })
	}
	s, _, err := b.ensure(ctx, w)
	return s, err
}

// ensure makes a stream, or brings it up to what is wanted; what a newer version made it leaves. Before is
// how it was, nil: it was not.
func (b *Bus) ensure(ctx context.Context, w streamSpec) (made jetstream.Stream, before *jetstream.StreamConfig, err error) {
	js := b.js
	made, err = create(ctx, b, "stream "+w.Name, func(ctx context.Context) (jetstream.Stream, error) {
		s, err := js.Stream(ctx, w.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return js.CreateOrUpdateStream(ctx, w.config(0))
		}
		if err != nil {
			return nil, err
		}
		before = &s.CachedInfo().Config
		if isNewer(before.Metadata) {
			return s, nil
		}
		cfg := w.config(before.Replicas)
		if w.volatile && (cfg.Storage != before.Storage || cfg.PersistMode != before.PersistMode) {
			if err := js.DeleteStream(ctx, w.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil, err
			}
		}
		return js.CreateOrUpdateStream(ctx, cfg)
	})
	return made, before, err
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
