package api

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tieback/tieback/services/console/operator/status"
)

// Many callers cost the broker one reading at a time and about one a second, for each window.
func TestCallersShareReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took = 200 * time.Millisecond
		count := map[time.Duration]int{}
		var ended sync.Map // the time by *status.Reading
		reading := false
		r := newReadings(func(_ context.Context, window time.Duration) (*status.Reading, error) {
			if reading {
				t.Error("two readings at the same time")
			}
			reading = true
			time.Sleep(took)
			reading = false
			count[window]++
			is := &status.Reading{}
			ended.Store(is, time.Now())
			return is, nil
		})
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 37 * time.Millisecond)
				for range 20 {
					is, err := r.get(t.Context(), 0)
					at, _ := ended.Load(is)
					if age := time.Since(at.(time.Time)); err != nil || age > readingAge {
						t.Errorf("a reading of %v ago, %v", age, err)
					}
					time.Sleep(500 * time.Millisecond)
				}
			})
		}
		all.Wait()
		if n := count[status.Window]; n < 8 || n > 12 {
			t.Errorf("%d readings within 12 seconds", n)
		}
		if _, err := r.get(t.Context(), time.Hour); err != nil || count[time.Hour] != 1 {
			t.Errorf("%d readings of another window, %v", count[time.Hour], err)
		}
	})
}

// While the broker answers slowly, it is asked for a fifth of the time.
func TestLongReadingsAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		r := newReadings(func(context.Context, time.Duration) (*status.Reading, error) {
			n++
			time.Sleep(time.Second)
			return &status.Reading{}, nil
		})
		for start := time.Now(); time.Since(start) < 50*time.Second; time.Sleep(100 * time.Millisecond) {
			if _, err := r.get(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		if n > 10 {
			t.Errorf("%d readings of a second within 50 seconds", n)
		}
	})
}

// A call after a change gets a reading that began after the change, even if one was in progress. A caller that leaves does not
// end the reading of the others, and an error is not kept.
func TestReadingsAfterChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began []time.Time
		fails := errors.New("no answer")
		var err error
		r := newReadings(func(ctx context.Context, _ time.Duration) (*status.Reading, error) {
			began = append(began, time.Now())
			time.Sleep(time.Second)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return &status.Reading{}, err
		})
		leaving, leave := context.WithCancel(t.Context())
		go func() { _, _ = r.get(leaving, 0) }()
		synctest.Wait()
		var others sync.WaitGroup
		others.Go(func() {
			if _, err := r.get(t.Context(), 0); err != nil {
				t.Errorf("after another caller left: %v", err)
			}
		})
		synctest.Wait()
		leave()
		time.Sleep(time.Millisecond)
		changed := time.Now()
		r.forget()
		if _, err := r.get(t.Context(), 0); err != nil || len(began) != 2 || began[1].Before(changed) {
			t.Errorf("changed at %v, read at %v, %v", changed, began, err)
		}
		others.Wait()
		r.forget()
		err = fails
		if _, got := r.get(t.Context(), 0); !errors.Is(got, fails) {
			t.Errorf("got %v", got)
		}
		err = nil
		if _, got := r.get(t.Context(), 0); got != nil {
			t.Errorf("the error of the last reading: %v", got)
		}
	})
}
