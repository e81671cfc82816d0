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

func about(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
