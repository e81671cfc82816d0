package bus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/fault"
)

// room keeps new work out while the streams are nearly full: what is under way needs the rest
// to come to its end. A nil room has no end.
type capacityGuard struct {
	js  jetstream.JetStream
	max uint64 // bytes of all streams together

	mu         sync.Mutex
	measuring  chan struct{} // closed when the look that is under way ends; nil: none is
	validUntil time.Time     // not before is there another
	err        error         // of the last
}

// lookEvery is how long the result of a look holds.
const measureEvery = 2 * time.Second

// full is a throttled error while nine tenths of the room are taken, or while nobody knows. Who
// comes while somebody looks waits for that look, as long as ctx allows.
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
	if looking := r.measuring; looking != nil {
		r.mu.Unlock()
		select {
		case <-looking:
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

// look holds for everybody, so that the caller's hurry is not its own.
func (r *capacityGuard) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), measureEvery)
	defer cancel()
	var used uint64
	for _, k := range Kinds {
		s, err := r.js.Stream(ctx, k.Stream())
		if err != nil {
			return fault.Wait(measureEvery, fmt.Errorf("how full the broker is can't be told: %w", err))
		}
		used += s.CachedInfo().State.Bytes
	}
	if used < r.max/10*9 {
		return nil
	}
	return fault.Wait(measureEvery, fmt.Errorf("the streams are full: %d of %d bytes (TIEBACK_NATS_MAX_BYTES); nothing new is taken until some have aged out or the limit is raised", used, r.max))
}
