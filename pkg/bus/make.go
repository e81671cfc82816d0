package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// makePatience is how long one try at making a stream or a consumer may take: an election.
const makePatience = 5 * time.Second

// insist makes a stream or a consumer, again and again until ctx ends: a cluster that has no
// leader just now answers late or not at all. A refusal that will not pass ends it.
func insist[T any](ctx context.Context, what string, f func(context.Context) (T, error)) (T, error) {
	for {
		try, cancel := context.WithTimeout(ctx, makePatience)
		made, err := f(try)
		cancel()
		var api *jetstream.APIError
		if err == nil || ctx.Err() != nil || errors.As(err, &api) && api.Code < 500 {
			return made, about(what, err)
		}
		select {
		case <-ctx.Done():
			return made, about(what, err)
		case <-time.After(retryPublish):
		}
	}
}

// ensure makes a stream, or brings it up to cfg. The replicas that it has are never lowered: a
// command run beside a cluster, in a shell that does not say how many, must not undo them. With
// leaderReads only the leader answers reads where there are replicas: a follower may lag.
func ensure(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig, leaderReads bool) (jetstream.Stream, error) {
	return insist(ctx, "stream "+cfg.Name, func(ctx context.Context) (jetstream.Stream, error) {
		cfg.Replicas = max(1, cfg.Replicas)
		s, err := js.Stream(ctx, cfg.Name)
		switch {
		case err == nil:
			cfg.Replicas = max(cfg.Replicas, s.CachedInfo().Config.Replicas)
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			return nil, err
		}
		cfg.AllowDirect = !leaderReads || cfg.Replicas == 1
		return js.CreateOrUpdateStream(ctx, cfg)
	})
}

func about(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
