package lagexporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/request"
)

// stateStream holds links, generations, cursors and attempts: the one stream beside the kinds' that grows.
const stateStream = "KV_tieback-state"

// takeSample makes all requests concurrently. The sample lacks what was not answered; the error lists it. A stream or
// consumer that does not exist is not an error, and is not in the sample.
func takeSample(ctx context.Context, on *bus.Bus) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		v    sample
		errs []error
	)
	ask := func(what string, f func() error) {
		all.Go(func() {
			if err := f(); err != nil && !missing(err) {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	for _, name := range streams() {
		ask(name, func() error {
			s, err := streamSizeOf(ctx, on, name)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				v.streams = append(v.streams, s)
			}
			return err
		})
	}
	for _, d := range topology.Durables() {
		ask(d.Name, func() error {
			b, exists, err := consumerLagOf(ctx, on, d)
			if err == nil && exists {
				mu.Lock()
				defer mu.Unlock()
				v.consumers = append(v.consumers, b)
			}
			return err
		})
	}
	ask("account", func() error {
		s, err := storeSizeOf(ctx, on)
		mu.Lock()
		defer mu.Unlock()
		v.store = s
		return err
	})
	all.Wait()
	v.at, v.up = time.Now(), len(errs) == 0
	return v, errors.Join(errs...)
}

// missing reports whether err says that a stream or consumer does not exist.
func missing(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// streams returns the names of the sampled streams.
func streams() []string {
	var all []string
	for _, k := range bus.Kinds {
		all = append(all, k.Stream())
	}
	return append(all, stateStream)
}

func streamSizeOf(ctx context.Context, on *bus.Bus, name string) (streamSize, error) {
	s, err := on.JetStream().Stream(ctx, name)
	if err != nil {
		return streamSize{}, err
	}
	state := s.CachedInfo().State
	offline, _ := bus.LaggingReplicas(s.CachedInfo().Cluster)
	return streamSize{stream: name, messages: state.Msgs, bytes: state.Bytes, offline: len(offline)}, nil
}

func storeSizeOf(ctx context.Context, on *bus.Bus) (storeSize, error) {
	account, err := on.JetStream().AccountInfo(ctx)
	if err != nil {
		return storeSize{}, err
	}
	return storeSize{known: true, used: account.Store, limit: uint64(max(0, account.Limits.MaxStore))}, nil
}

// consumerLagOf reads a consumer's queue and the age of its oldest message. exists is false if there is no such consumer.
func consumerLagOf(ctx context.Context, on *bus.Bus, d topology.Durable) (b consumerLag, exists bool, err error) {
	q, err := request.ReadQueue(ctx, on, d)
	if err != nil || !q.Exists {
		return consumerLag{}, false, err
	}
	b = consumerLag{consumer: d.Name, messages: q.Unfinished()}
	m, found, err := q.Oldest(ctx, on)
	if found {
		b.oldest = max(0, time.Since(m.Stored)) // clock skew may make a new message seem to come from the future
	}
	return b, true, err
}
