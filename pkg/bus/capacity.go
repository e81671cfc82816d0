package bus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/fault"
)

// capacityGuard refuses new deliveries while the streams are nearly full (backpressure): the remaining space is kept for
// requests already under way. A nil capacityGuard refuses nothing.
type capacityGuard struct {
	js  jetstream.JetStream
	max uint64 // bytes of all streams together

	mu         sync.Mutex
	measuring  chan struct{} // closed when the measurement under way ends; nil: none is
	validUntil time.Time     // err is used until then
	err        error         // of the last measurement; nil: there is room
}

// measureEvery is how long a measurement is used.
const measureEvery = 2 * time.Second

// check returns a throttled error while nine tenths of the capacity are used, or while the size of the streams is not known. Callers
// share one measurement, and wait for it until ctx ends.
func (r *capacityGuard) check(ctx context.Context) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.measuring == nil && time.Now().After(r.validUntil) {
		r.measuring = make(chan struct{})
		go r.refresh(ctx)
	}
	if measuring := r.measuring; measuring != nil {
		r.mu.Unlock()
		select {
		case <-measuring:
		case <-ctx.Done():
		}
		r.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return r.err
}

func (r *capacityGuard) refresh(ctx context.Context) {
	err := r.measure(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.measuring)
	r.measuring, r.err, r.validUntil = nil, err, time.Now().Add(measureEvery)
}

// measure serves all callers, so it ignores the deadline of the one that started it.
func (r *capacityGuard) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), measureEvery)
	defer cancel()
	var used uint64
	for _, k := range Kinds {
		s, err := r.js.Stream(ctx, k.Stream())
		if err != nil {
			return fault.Wait(measureEvery, fmt.Errorf("can't measure the size of the streams: %w", err))
		}
		used += s.CachedInfo().State.Bytes
	}
	if used < r.max/10*9 {
		return nil
	}
	return fault.Wait(measureEvery, fmt.Errorf("the streams are full: %d of %d bytes (TIEBACK_NATS_MAX_BYTES); new deliveries are refused until messages have expired or the limit is raised", used, r.max))
}
