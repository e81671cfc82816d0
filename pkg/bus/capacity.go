package bus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/singleflight"

	"github.com/tieback/tieback/pkg/fault"
)

// capacityGuard refuses new deliveries while the streams are nearly full (backpressure): the remaining space is kept for
// requests already under way. A nil capacityGuard refuses nothing.
type capacityGuard struct {
	js          jetstream.JetStream
	max         uint64 // bytes of all streams together
	measurement singleflight.Group

	mu         sync.Mutex
	validUntil time.Time // err is used until then
	err        error     // of the last measurement; nil: there is room
}

// measureEvery is how long a measurement is used.
const measureEvery = 2 * time.Second

// check returns a throttled error while nine tenths of the capacity are used, or while the size of the streams is not known.
// Callers share one measurement, and wait for it until ctx ends.
func (g *capacityGuard) check(ctx context.Context) error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	err, valid := g.err, time.Now().Before(g.validUntil)
	g.mu.Unlock()
	if valid {
		return err
	}
	measured := g.measurement.DoChan("", func() (any, error) {
		err := g.measure(ctx)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.err, g.validUntil = err, time.Now().Add(measureEvery)
		return nil, err
	})
	select {
	case m := <-measured:
		return m.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// measure serves all callers, so it ignores the deadline of the caller that started it.
func (g *capacityGuard) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), measureEvery)
	defer cancel()
	var used uint64
	for _, k := range Kinds {
		s, err := g.js.Stream(ctx, k.Stream())
		if err != nil {
			return fault.Wait(measureEvery, fmt.Errorf("can't measure the size of the streams: %w", err))
		}
		used += s.CachedInfo().State.Bytes
	}
	if used < g.max/10*9 {
		return nil
	}
	return fault.Wait(measureEvery, fmt.Errorf("the streams are full: %d of %d bytes (TIEBACK_NATS_MAX_BYTES); new deliveries are refused until messages have expired or the limit is raised", used, g.max))
}
