package bus

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/fault"
)

// unresponsive is a broker whose JetStream never answers.
type unresponsive struct {
	jetstream.JetStream
	mu    sync.Mutex
	asked int
}

func (m *unresponsive) Stream(ctx context.Context, _ string) (jetstream.Stream, error) {
	m.mu.Lock()
	m.asked++
	m.mu.Unlock()
	<-ctx.Done()
	return nil, ctx.Err()
}

// If the size of the streams can't be measured, all callers share one measurement. A caller waits for it until its context ends.
func TestCallersShareOneMeasurement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := &unresponsive{}
		r := &capacityGuard{js: broker, max: 100}
		start := time.Now()
		var all sync.WaitGroup
		for i := range 50 {
			time.Sleep(10 * time.Millisecond)
			all.Go(func() {
				began := time.Now()
				if err := r.check(t.Context()); fault.ClassOf(err) != fault.Throttled {
					t.Errorf("%v, want a throttled error", err)
				}
				if took := time.Since(began); took > measureEvery {
					t.Errorf("caller %d waited %v", i, took)
				}
			})
		}
		hurry, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := r.check(hurry); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 100*time.Millisecond {
			t.Errorf("with a timeout of 100 ms: %v after %v", err, time.Since(began))
		}
		all.Wait()
		if err := r.check(t.Context()); fault.ClassOf(err) != fault.Throttled || broker.asked != 1 {
			t.Errorf("%v; %d measurements in %v, want one", err, broker.asked, time.Since(start))
		}
	})
}
