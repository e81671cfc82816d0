package lagexporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
)

// stateStream holds links, generations, cursors and attempts: the one stream beside the kinds' that grows.
const stateStream = "KV_tieback-state"

// look asks for all at once. The view lacks what was not answered; err says what that was. What does
// not exist is no trouble of the broker's: a consumer that was not made yet has no numbers.
func look(ctx context.Context, on *bus.Bus) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout) // all questions are asked at once
	defer cancel()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		v    view
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
			s, err := stockOf(ctx, on, name)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				v.streams = append(v.streams, s)
			}
			return err
		})
	}
	for _, d := range bus.Durables() {
		ask(d.Name, func() error {
			b, made, err := backlogOf(ctx, on, d)
			if err == nil && made {
				mu.Lock()
				defer mu.Unlock()
				v.consumers = append(v.consumers, b)
			}
			return err
		})
	}
	ask("account", func() error {
		s, err := storeOf(ctx, on)
		mu.Lock()
		defer mu.Unlock()
		v.store = s
		return err
	})
	all.Wait()
	v.at, v.up = time.Now(), len(errs) == 0
	return v, errors.Join(errs...)
}

func missing(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

func streams() []string {
	var all []string
	for _, k := range bus.Kinds {
		all = append(all, k.Stream())
	}
	return append(all, stateStream)
}

func stockOf(ctx context.Context, on *bus.Bus, name string) (stock, error) {
	s, err := on.JetStream().Stream(ctx, name)
	if err != nil {
		return stock{}, err
	}
	state := s.CachedInfo().State
	offline, _ := bus.LaggingReplicas(s.CachedInfo().Cluster)
	return stock{stream: name, messages: state.Msgs, bytes: state.Bytes, offline: len(offline)}, nil
}

func storeOf(ctx context.Context, on *bus.Bus) (store, error) {
	account, err := on.JetStream().AccountInfo(ctx)
	if err != nil {
		return store{}, err
	}
	return store{known: true, used: account.Store, limit: uint64(max(0, account.Limits.MaxStore))}, nil
}

// backlogOf asks a consumer, and for the age of its oldest message. made is false if there is no such consumer.
func backlogOf(ctx context.Context, on *bus.Bus, d bus.Durable) (b backlog, made bool, err error) {
	q, err := request.ReadQueue(ctx, on, d)
	if err != nil || !q.Exists {
		return backlog{}, false, err
	}
	b = backlog{consumer: d.Name, messages: q.Unfinished()}
	m, found, err := q.Oldest(ctx, on)
	if found {
		b.oldest = max(0, time.Since(m.Stored)) // by two clocks, a new one may seem to come from the future
	}
	return b, true, err
}
