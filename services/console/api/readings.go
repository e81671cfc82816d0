package api

import (
	"cmp"
	"context"
	"maps"
	"sync"
	"time"

	"github.com/tieback/tieback/services/console/operator/status"
)

const (
	// readingAge is how long after its end a reading answers further calls. A long reading answers them for four times as long as
	// it took, up to maxReadingAge, so that the broker is free for most of the time.
	readingAge, maxReadingAge = time.Second, 5 * time.Second
	// readingTimeout bounds a reading. The callers' contexts do not: others may wait for the same reading.
	readingTimeout = time.Minute
)

// readings shares readings of the broker among callers, so that their number does not matter to the broker: calls during a
// reading, and for readingAge after it, get its result. Its methods may be called concurrently.
type readings struct {
	read func(context.Context, time.Duration) (*status.Reading, error)
	one  chan struct{} // has an element during a reading: each continues the count of the last one

	mu   sync.Mutex                // guards last
	last map[time.Duration]*shared // by window
}

func newReadings(read func(context.Context, time.Duration) (*status.Reading, error)) *readings {
	return &readings{read: read, one: make(chan struct{}, 1), last: map[time.Duration]*shared{}}
}

// shared is a reading in progress, or the result of one.
type shared struct {
	done    chan struct{} // closed when the fields below are set
	reading *status.Reading
	err     error
	until   time.Time // when it is too old to be used
}

// usable reports whether another call may use the reading.
func (s *shared) usable() bool {
	select {
	case <-s.done:
		return s.err == nil && time.Now().Before(s.until)
	default:
		return true
	}
}

// get returns a reading whose rates are counted over a window; 0: status.Window.
func (r *readings) get(ctx context.Context, window time.Duration) (*status.Reading, error) {
	s := r.shared(ctx, cmp.Or(window, status.Window))
	select {
	case <-s.done:
		return s.reading, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// shared returns a usable reading. It starts one if there is none.
func (r *readings) shared(ctx context.Context, window time.Duration) *shared {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.last, func(_ time.Duration, s *shared) bool { return !s.usable() })
	if s := r.last[window]; s != nil {
		return s
	}
	s := &shared{done: make(chan struct{})}
	r.last[window] = s
	go func() {
		defer close(s.done)
		r.one <- struct{}{}
		defer func() { <-r.one }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readingTimeout)
		defer cancel()
		began := time.Now()
		s.reading, s.err = r.read(ctx, window)
		s.until = time.Now().Add(min(max(readingAge, 4*time.Since(began)), maxReadingAge))
	}()
	return s
}

// forget makes later calls read again. Call it after a change that they must see.
func (r *readings) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.last)
}
