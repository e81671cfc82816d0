package lagexporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/request"
)

// takeSample makes all requests concurrently. The error lists the requests that failed; the sample lacks their values. A stream
// or consumer that does not exist is not an error, and is not in the sample.
func takeSample(ctx context.Context, b *bus.Bus) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		v    sample
		errs []error
	)
	add := func(what string, read func() ([]prometheus.Metric, error)) {
		all.Go(func() {
			metrics, err := read()
			mu.Lock()
			defer mu.Unlock()
			v.metrics = append(v.metrics, metrics...)
			if err != nil && !missing(err) {
				errs = append(errs, fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	for _, name := range streams() {
		add(name, func() ([]prometheus.Metric, error) {
			metrics, n, err := streamSize(ctx, b, name)
			mu.Lock()
			defer mu.Unlock()
			v.messages += n
			return metrics, err
		})
	}
	for _, d := range topology.Durables() {
		add(d.Name, func() ([]prometheus.Metric, error) { return consumerLag(ctx, b, d) })
	}
	add("last backup", func() ([]prometheus.Metric, error) { return backup(ctx, b) })
	add("account", func() ([]prometheus.Metric, error) { return accountSize(ctx, b) })
	all.Wait()
	v.at, v.up = time.Now(), len(errs) == 0
	return v, errors.Join(errs...)
}

// missing reports whether err says that a stream or consumer does not exist.
func missing(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// streams returns the names of the sampled streams: those of the kinds, and the state bucket's, which also grows.
func streams() []string {
	var all []string
	for _, k := range bus.Kinds {
		all = append(all, k.Stream())
	}
	return append(all, topology.State.Stream())
}

// streamSize returns the metrics of a stream, and the number of its messages.
func streamSize(ctx context.Context, b *bus.Bus, name string) ([]prometheus.Metric, uint64, error) {
	s, err := b.JetStream().Stream(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	info := s.CachedInfo()
	state := info.State
	unreachable, _ := bus.LaggingReplicas(info.Cluster)
	metrics := []prometheus.Metric{
		gauge(streamMessages, float64(state.Msgs), name), gauge(streamBytes, float64(state.Bytes), name), gauge(offline, float64(len(unreachable)), name),
	}
	if keeps := topology.RetentionOf(info.Config); keeps > 0 {
		oldest := time.Duration(0)
		if state.Msgs > 0 {
			oldest = max(0, info.TimeStamp.Sub(state.FirstTime)) // both are times of the broker
		}
		metrics = append(metrics, gauge(streamOldest, oldest.Seconds(), name), gauge(streamKeeps, keeps.Seconds(), name))
	}
	return metrics, state.Msgs, nil
}

func backup(ctx context.Context, b *bus.Bus) ([]prometheus.Metric, error) {
	last, made, err := b.LastBackup(ctx)
	switch {
	case err != nil:
		return nil, err
	case !made:
		return []prometheus.Metric{gauge(lastBackup, 0)}, nil
	}
	return []prometheus.Metric{gauge(lastBackup, float64(last.Began.Unix()))}, nil
}

func accountSize(ctx context.Context, b *bus.Bus) ([]prometheus.Metric, error) {
	account, err := b.JetStream().AccountInfo(ctx)
	if err != nil {
		return nil, err
	}
	metrics := []prometheus.Metric{gauge(brokerBytes, float64(account.Store))}
	if limit := account.Limits.MaxStore; limit > 0 {
		metrics = append(metrics, gauge(brokerLimit, float64(limit)))
	}
	return metrics, nil
}

// consumerLag returns the number of messages that a consumer has not finished, and the age of the oldest.
func consumerLag(ctx context.Context, b *bus.Bus, d topology.Durable) ([]prometheus.Metric, error) {
	q, err := request.ReadQueue(ctx, b, d)
	if err != nil || !q.Exists {
		return nil, err
	}
	m, found, err := q.Oldest(ctx, b)
	if err != nil {
		return nil, err
	}
	oldest := time.Duration(0)
	if found {
		oldest = max(0, time.Since(m.Stored)) // the broker's clock may be ahead
	}
	return []prometheus.Metric{gauge(messages, float64(q.Unfinished()), d.Name), gauge(age, oldest.Seconds(), d.Name)}, nil
}
