package statusreporter

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/status-reporter/internal/closeout"
)

// arrival is an outcome that reaches the batcher after at, of an event that Tieback received age before.
type arrival struct{ at, age time.Duration }

// every returns n arrivals of new events, one per interval.
func every(interval time.Duration, n int) (all []arrival) {
	for i := range n {
		all = append(all, arrival{at: time.Duration(i) * interval})
	}
	return all
}

// flushes runs a batcher on arrivals and returns the times and sizes of its flushes, and the longest time that an outcome waited for
// the end of its flush. A flush takes took.
func flushes(t *testing.T, quota func() (procore.Quota, bool), took time.Duration, arrivals []arrival) (at []time.Duration, sizes []int, longest time.Duration) {
	t.Helper()
	start := time.Now()
	b := &batcher{queue: make(chan *queuedOutcome), quota: quota, flush: func(_ context.Context, batch []*queuedOutcome) {
		at, sizes = append(at, time.Since(start)), append(sizes, len(batch))
		time.Sleep(took)
		for _, w := range batch {
			w.done <- nil
		}
	}}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.run(ctx); close(done) }()
	var mu sync.Mutex
	for _, a := range arrivals {
		time.Sleep(time.Until(start.Add(a.at)))
		go func() {
			now := time.Now()
			w := &queuedOutcome{Item: closeout.Item{Outcome: &tiebackv1.Outcome{ReceivedAt: timestamppb.New(now.Add(-a.age))}}, done: make(chan error, 1)}
			b.queue <- w
			<-w.done
			mu.Lock()
			defer mu.Unlock()
			longest = max(longest, time.Since(now))
		}()
	}
	time.Sleep(2 * maxGap)
	synctest.Wait()
	stop()
	<-done
	return at, sizes, longest
}

func plenty() (procore.Quota, bool) {
	return procore.Quota{Limit: 3_600_000, Remaining: 3_500_000, Reset: time.Now().Add(time.Hour)}, true
}

func TestFirstOutcomeAfterQuietTimeIsFlushedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, _, _ := flushes(t, plenty, 0, []arrival{{at: time.Second}, {at: time.Minute}})
		if len(at) != 2 || at[0] != time.Second || at[1] != time.Minute {
			t.Errorf("flushed at %v", at)
		}
	})
}

// With plenty of calls, the outcome of a new event waits for the flush in progress and for its own.
func TestFlushesFollowEachOtherWithPlentyOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took = 10 * time.Millisecond
		at, sizes, longest := flushes(t, plenty, took, every(5*time.Millisecond, 1000))
		if longest > 2*took {
			t.Errorf("an outcome waited %v, with flushes of %v at %v", longest, sizes, at)
		}
	})
}

// An outcome of a new event does not wait for one of an old event, nor the other way round.
func TestNewOutcomeEndsWaitOfBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, sizes, _ := flushes(t, plenty, 0, []arrival{{at: 0}, {at: 10 * time.Millisecond, age: time.Hour}, {at: 20 * time.Millisecond}, {at: time.Second, age: time.Hour}, {at: time.Second + time.Millisecond, age: time.Hour}})
		want := []time.Duration{0, 20 * time.Millisecond, time.Second, time.Second + backlogGap}
		if !slices.Equal(at, want) {
			t.Errorf("flushed at %v, sizes %v; want %v", at, sizes, want)
		}
	})
}

// Procore's calls per event are the fetch and a share of the flushes, of two calls each. The limits are those of fixed gaps of
// 0.2 s, as measured with these arrivals: shorter gaps with plenty of calls must not cost more where calls are scarce.
func TestCallsPerEvent(t *testing.T) {
	for _, c := range []struct {
		name     string
		limit    int
		window   time.Duration
		arrivals []arrival
		most     float64
	}{
		{"drain of a backlog", 3_600_000, time.Hour, func() (all []arrival) {
			for i := range 20_000 { // 570 per second, received at a higher rate
				at := time.Duration(i) * time.Second / 570
				all = append(all, arrival{at, at * 4 / 10})
			}
			return all
		}(), 1.0177},
		{"3,600 calls in an hour", 3_600, time.Hour, every(2*time.Second, 1800), 1.8878},
		{"25 calls in 10 s", 25, 10 * time.Second, every(time.Second, 600), 2.1967},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, arrived, flushed := time.Now(), 0, 0
				windows, before := time.Duration(0), 0 // windows that have ended, and the calls that were made in them
				quota := func() (procore.Quota, bool) {
					for arrived = 0; arrived < len(c.arrivals) && c.arrivals[arrived].at <= time.Since(start); {
						arrived++
					}
					flushed++ // a batcher asks once after each flush
					calls := arrived + 2*flushed
					if n := time.Since(start) / c.window; n > windows {
						windows, before = n, calls
					}
					return procore.Quota{Limit: c.limit, Remaining: max(0, c.limit-(calls-before)), Reset: start.Add((windows + 1) * c.window)}, true
				}
				at, _, _ := flushes(t, quota, 10*time.Millisecond, c.arrivals)
				if calls := 1 + 2*float64(len(at))/float64(len(c.arrivals)); calls > c.most {
					t.Errorf("%.4f calls per event, want at most %.4f", calls, c.most)
				} else {
					t.Logf("%.4f calls per event", calls)
				}
			})
		})
	}
}

func TestFlushGapGrowsAsQuotaShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(time.Hour)
		scarce := func() (procore.Quota, bool) {
			return procore.Quota{Limit: 3600, Remaining: 1000, Reset: end}, true
		}
		at, sizes, _ := flushes(t, scarce, 0, every(time.Second, 120))
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
		other := &queuedOutcome{Item: closeout.Item{Outcome: &tiebackv1.Outcome{}}, done: make(chan error, 1)}
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

func TestFlushGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hour := time.Now().Add(time.Hour)
		for _, c := range []struct {
			name   string
			q      procore.Quota
			want   time.Duration
			shares bool
		}{
			{"not known", procore.Quota{}, scarceGap, false},
			{"plenty", procore.Quota{Remaining: 3_600_000, Reset: hour}, 6 * time.Millisecond, true},
			{"plenty, at the end of the window", procore.Quota{Remaining: 3_600_000, Reset: time.Now()}, 0, true},
			{"the window is over", procore.Quota{Remaining: 3_600_000}, 0, true},
			{"enough for a flush per 0.2 s", procore.Quota{Remaining: 108_000, Reset: hour}, scarceGap, true},
			{"an hour for 3,600 calls", procore.Quota{Remaining: 3600, Reset: hour}, 6 * time.Second, false},
			{"25 calls, at the end of the window", procore.Quota{Remaining: 25, Reset: time.Now().Add(time.Millisecond)}, scarceGap, false},
			{"spent, 5 s to go", procore.Quota{Remaining: 0, Reset: time.Now().Add(5 * time.Second)}, 5 * time.Second, false},
			{"never longer than a minute", procore.Quota{Remaining: 1, Reset: hour}, maxGap, false},
		} {
			got, shares := flushGap(func() (procore.Quota, bool) { return c.q, c.name != "not known" })
			if got != c.want || shares != c.shares {
				t.Errorf("%s: %v, %v; want %v, %v", c.name, got, shares, c.want, c.shares)
			}
		}
	})
}
