package statusreporter

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tieback/tieback/pkg/procore"
)

// flushes runs a batcher on arrivals and returns the times and sizes of its flushes.
func flushes(t *testing.T, quota func() (procore.Quota, bool), arrivals []time.Duration) (at []time.Duration, sizes []int) {
	t.Helper()
	start := time.Now()
	b := &batcher{queue: make(chan *queuedOutcome), quota: quota, flush: func(_ context.Context, batch []*queuedOutcome) {
		at, sizes = append(at, time.Since(start)), append(sizes, len(batch))
	}}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.run(ctx); close(done) }()
	for _, a := range arrivals {
		time.Sleep(time.Until(start.Add(a)))
		b.queue <- &queuedOutcome{}
	}
	time.Sleep(2 * maxFlushInterval)
	synctest.Wait()
	stop()
	<-done
	return at, sizes
}

func plenty() (procore.Quota, bool) {
	return procore.Quota{Limit: 3600, Remaining: 1_000_000, Reset: time.Now().Add(time.Hour)}, true
}

func TestFirstOutcomeAfterQuietTimeIsFlushedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, _ := flushes(t, plenty, []time.Duration{time.Second, time.Minute})
		if len(at) != 2 || at[0] != time.Second || at[1] != time.Minute {
			t.Errorf("flushed at %v", at)
		}
	})
}

func TestBurstSharesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var arrivals []time.Duration
		for i := range 1000 {
			arrivals = append(arrivals, time.Duration(i)*time.Millisecond)
		}
		at, sizes := flushes(t, plenty, arrivals)
		if len(at) > 7 {
			t.Errorf("%d flushes of %v", len(at), sizes)
		}
	})
}

func TestFlushIntervalGrowsAsQuotaShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(time.Hour)
		scarce := func() (procore.Quota, bool) {
			return procore.Quota{Limit: 3600, Remaining: 1000, Reset: end}, true
		}
		var arrivals []time.Duration // one event a second
		for i := range 120 {
			arrivals = append(arrivals, time.Duration(i)*time.Second)
		}
		at, sizes := flushes(t, scarce, arrivals)
		if len(at) > 8 || at[0] != 0 {
			t.Errorf("flushed at %v, sizes %v; want one each 21 s or so, the first at once", at, sizes)
		}
	})
}

// An outcome that may have killed the process runs isolated. Outcomes of all companies wait for it, so it
// does not wait for its company's flush interval.
func TestImmediateOutcomeDoesNotWaitForInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spent := func() (procore.Quota, bool) { // the interval is a minute
			return procore.Quota{Limit: 3600, Reset: time.Now().Add(time.Hour)}, true
		}
		var sizes []int
		b := &batcher{queue: make(chan *queuedOutcome), quota: spent, flush: func(_ context.Context, batch []*queuedOutcome) {
			sizes = append(sizes, len(batch))
			for _, w := range batch {
				w.done <- nil
			}
		}}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go b.run(ctx)
		start := time.Now()
		for range 100 {
			w := &queuedOutcome{immediate: true, done: make(chan error, 1)}
			b.queue <- w
			<-w.done
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("100 took %v, in flushes of %v", took, sizes)
		}
		other := &queuedOutcome{done: make(chan error, 1)}
		b.queue <- other // gathers
		time.Sleep(time.Second)
		w := &queuedOutcome{immediate: true, done: make(chan error, 1)}
		b.queue <- w
		<-w.done
		<-other.done
		if took := time.Since(start); took != time.Second {
			t.Errorf("an immediate outcome that joined a batch was flushed after %v", took-time.Second)
		}
	})
}

func TestFlushInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name string
			q    procore.Quota
			want time.Duration
		}{
			{"unknown quota", procore.Quota{}, minFlushInterval},
			{"plenty", procore.Quota{Remaining: 1_000_000, Reset: time.Now().Add(time.Hour)}, minFlushInterval},
			{"an hour for 3,600 calls", procore.Quota{Remaining: 3600, Reset: time.Now().Add(time.Hour)}, 6 * time.Second},
			{"spent, 5 s to go", procore.Quota{Remaining: 0, Reset: time.Now().Add(5 * time.Second)}, 5 * time.Second},
			{"never longer than a minute", procore.Quota{Remaining: 1, Reset: time.Now().Add(time.Hour)}, maxFlushInterval},
		} {
			if got := flushInterval(func() (procore.Quota, bool) { return c.q, c.name != "unknown quota" }); got != c.want {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		}
	})
}
