package procore

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/trouble"
)

// play makes calls one after the other. It returns how many were made before the first was delayed, and for how long.
func (w *simulation) play(ctx context.Context, m *limiter) (calls int, wait time.Duration) {
	for ; calls < 10_000; calls++ {
		t, err := m.reserve(ctx, 7)
		if err != nil {
			return calls, fault.RetryAfter(err)
		}
		w.now = w.now.Add(time.Millisecond)
		status, h := w.answer()
		m.recordAnswer(t, status, h)
	}
	return calls, 0
}

// A process that starts has one call in flight until it is answered, and then at most one more than were answered: it does not
// know yet how many calls are left, and how many processes there are.
func TestFirstCalls(t *testing.T) {
	w := newSimulation(t, 1, 1000, 25)
	m := w.process(0)
	for answered := range 4 {
		var begun []reservation
		for {
			r, err := m.reserve(t.Context(), 7)
			if err != nil {
				if fault.ClassOf(err) != fault.Throttled || fault.RetryAfter(err) > time.Second {
					t.Errorf("%v, after %v", err, fault.RetryAfter(err))
				}
				break
			}
			begun = append(begun, r)
		}
		if len(begun) != 1<<answered {
			t.Errorf("%d calls were begun after %d answers, want %d", len(begun), 1<<answered-1, 1<<answered)
		}
		for _, r := range begun {
			status, h := w.answer()
			m.recordAnswer(r, status, h)
		}
	}
}

// If answers have no rate headers, calls are not limited.
func TestAnswersWithoutRateHeaders(t *testing.T) {
	w := newSimulation(t, 1, 1000, 25)
	m := w.process(0)
	for range 100 {
		first, err := m.reserve(t.Context(), 7)
		if err != nil {
			t.Fatal(err)
		}
		m.recordAnswer(first, 200, http.Header{})
	}
	for range 100 {
		if _, err := m.reserve(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBulkLeavesLastFifthOfEachWindow(t *testing.T) {
	for _, c := range []struct {
		name                 string
		hourly, spikes       int
		bulk, then, atOnceOf int
	}{
		{"of the 10 seconds", 1000, 25, 20, 5, 25},
		{"of the hour", 20, 25, 16, 4, 20},
		{"at least one call", 1000, 3, 2, 1, 3},
		{"of a single call nothing", 1000, 1, 1, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newSimulation(t, 1, c.hourly, c.spikes)
			m := w.process(0)
			if n, wait := w.play(Bulk(t.Context()), m); n != c.bulk || wait < 5*time.Second {
				t.Errorf("bulk made %d calls, then waits %v; want %d", n, wait, c.bulk)
			}
			if n, _ := w.play(t.Context(), m); n != c.then {
				t.Errorf("then %d others went, want %d", n, c.then)
			}
		})
	}
}

// A changed limit applies from the next answer on.
func TestLimitsMayChange(t *testing.T) {
	for _, limit := range []int{5, 60} {
		w := newSimulation(t, 1, 100_000, 25)
		m := w.process(0)
		w.play(t.Context(), m)
		w.spike.limit = limit
		w.now = w.now.Add(12 * time.Second)
		if n, _ := w.play(t.Context(), m); n != limit || w.refused > 0 {
			t.Errorf("%d calls, %d refused, want %d", n, w.refused, limit)
		}
	}
}

// Procore's clock determines the end of a window, not the local one. If Procore's clock jumps, waits stay bounded.
func TestProcoreClockMayJump(t *testing.T) {
	for _, jump := range []time.Duration{-24 * time.Hour, -time.Hour, -30 * time.Second, -3 * time.Second, 3 * time.Second, time.Hour, 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			w := newSimulation(t, 1, 200, 25)
			m := w.process(5 * time.Hour)
			off := time.Duration(0) // by which Procore's clock is wrong
			play := func() (n int, wait time.Duration) {
				for ; ; n++ {
					tk, err := m.reserve(t.Context(), 7)
					if err != nil {
						return n, fault.RetryAfter(err)
					}
					status, h := w.answer()
					var limit, left int
					var reset int64
					_, _ = fmt.Sscan(h.Get("X-Rate-Limit-Limit"), &limit)
					_, _ = fmt.Sscan(h.Get("X-Rate-Limit-Remaining"), &left)
					_, _ = fmt.Sscan(h.Get("X-Rate-Limit-Reset"), &reset)
					m.recordAnswer(tk, status, headers(limit, left, reset+int64(off.Seconds()), w.now.Add(off)))
				}
			}
			n, wait := play()
			if n != 25 || wait > 15*time.Second {
				t.Fatalf("%d calls, then a wait of %v", n, wait)
			}
			off = jump
			made := w.made
			for end := w.now.Add(62 * time.Minute); w.now.Before(end); {
				w.now = w.now.Add(max(wait, time.Second))
				if _, wait = play(); wait > 63*time.Minute {
					t.Fatalf("a wait of %v", wait)
				}
			}
			if w.refused > 3 || w.made-made < 170 {
				t.Errorf("in the next hour %d calls, %d refused", w.made-made, w.refused)
			}
		})
	}
}

// After a 429 or 503, no call is made until the time that the answer names.
func TestWaitAfter429And503(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		header map[string]string
		atMost time.Duration
		least  time.Duration
	}{
		{"Retry-After", 503, map[string]string{"Retry-After": "20"}, 23 * time.Second, 20 * time.Second},
		{"Retry-After as a date", 429, map[string]string{"Retry-After": epoch.Add(20 * time.Second).Format(http.TimeFormat), "Date": epoch.Format(http.TimeFormat)}, 23 * time.Second, 19 * time.Second},
		{"reset", 429, map[string]string{
			"X-Rate-Limit-Limit": "25", "X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": fmt.Sprint(epoch.Unix() + 8), "Date": epoch.Format(http.TimeFormat),
		}, 11 * time.Second, 8 * time.Second},
		{"no word", 503, nil, 1200 * time.Millisecond, time.Second},
		{"longer than an hour", 429, map[string]string{"Retry-After": "9999999999"}, 62 * time.Minute, 61 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newSimulation(t, 1, 1000, 25)
			a := w.process(time.Hour)
			tk, _ := a.reserve(t.Context(), 7)
			h := http.Header{}
			for name, value := range c.header {
				h.Set(name, value)
			}
			waits := map[time.Duration]bool{a.recordAnswer(tk, c.status, h): true}
			for range 20 {
				_, err := a.reserve(t.Context(), 7)
				waits[fault.RetryAfter(err)] = true
			}
			for wait := range waits {
				if wait < c.least || wait > c.atMost {
					t.Errorf("waits %v, want %v to %v", wait, c.least, c.atMost)
				}
			}
			if len(waits) < 10 {
				t.Errorf("they all come back at once: %v", waits)
			}
		})
	}
}

// The wait after repeated 429s without a Retry-After grows.
func TestWaitGrowsWithRepeatedRefusals(t *testing.T) {
	w := newSimulation(t, 1, 1000, 25)
	m := w.process(0)
	var waits []time.Duration
	for range 9 {
		tk, err := m.reserve(t.Context(), 7)
		if err != nil {
			t.Fatal(err)
		}
		wait := m.recordAnswer(tk, 429, http.Header{})
		waits = append(waits, wait)
		w.now = w.now.Add(wait)
	}
	if waits[3] < 8*time.Second || waits[8] < time.Minute || waits[8] > 75*time.Second {
		t.Errorf("%v", waits)
	}
}

func TestQuotaReturnsScarcerWindow(t *testing.T) {
	w := newSimulation(t, 1, 30, 25)
	m := w.process(0)
	if _, known := m.left(7); known {
		t.Error("known before any answer")
	}
	w.play(t.Context(), m)
	if q, known := m.left(7); !known || q.Limit != 25 || q.Remaining != 0 || q.Reset.Sub(w.now) > 12*time.Second {
		t.Errorf("%+v", q)
	}
	w.now = w.now.Add(12 * time.Second)
	w.play(t.Context(), m)
	if q, known := m.left(7); !known || q.Limit != 30 || q.Remaining != 0 || q.Reset.Sub(w.now) < 50*time.Minute {
		t.Errorf("%+v", q)
	}
}

// With any headers, the limiter does not panic, waits are bounded, and after an hour calls are made again.
func FuzzHeaders(f *testing.F) {
	date := epoch.Format(http.TimeFormat)
	f.Add("25", "24", fmt.Sprint(epoch.Unix()+9), date, "", 200)
	f.Add("3600", "0", fmt.Sprint(epoch.Unix()+3600), date, "", 429)
	f.Add("25", "0", fmt.Sprint(epoch.Unix()+9), date, "10", 503)
	f.Add("", "", "", "", "", 200)
	f.Add("-1", "-5", "-9", "yesterday", "-3", 429)
	f.Add("0", "0", "0", "Thu, 01 Jan 1970 00:00:01 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", 503)
	f.Add("9223372036854775807", "9223372036854775807", "9223372036854775807", date, "9223372036854775807", 429)
	f.Add("25, 25", "1e3", "12:00", date, "soon", 200)
	f.Add("25", "99", fmt.Sprint(epoch.Unix()), "Fri, 31 Dec 9999 23:59:59 GMT", date, 200)
	f.Fuzz(func(t *testing.T, limit, left, reset, date, retry string, status int) {
		w := newSimulation(t, 1, 1000, 25)
		m := w.process(0)
		h := http.Header{}
		for name, value := range map[string]string{
			"X-Rate-Limit-Limit": limit, "X-Rate-Limit-Remaining": left, "X-Rate-Limit-Reset": reset, "Date": date, "Retry-After": retry,
		} {
			h.Set(name, value)
		}
		const longest = 62 * time.Minute
		for range 3 { // once more, and with sound answers between
			for _, odd := range []bool{true, false} {
				tk, err := m.reserve(t.Context(), 7)
				if err != nil {
					if d := fault.RetryAfter(err); d <= 0 || d > longest {
						t.Fatalf("wait of %v", d)
					}
					continue
				}
				if !odd {
					_, sound := w.answer()
					m.recordAnswer(tk, 200, sound)
				} else if d := m.recordAnswer(tk, status, h); d < 0 || d > longest {
					t.Fatalf("wait of %v", d)
				}
			}
		}
		windows, _ := m.windows(7)
		for _, q := range windows {
			if q.Limit <= 0 || q.Remaining > q.Limit {
				t.Fatalf("%+v", q)
			}
		}
		w.now = w.now.Add(longest + time.Minute)
		if _, err := m.reserve(t.Context(), 7); err != nil {
			t.Fatalf("after the hour: %v in %v", err, fault.RetryAfter(err))
		}
	})
}

// The cost of counting a call in a process that does not share its limits.
func BenchmarkCount(b *testing.B) {
	m := newLimiter(false)
	h := headers(1_000_000_000, 999_999_999, time.Now().Unix()+3000, time.Now())
	for b.Loop() {
		tk, err := m.reserve(b.Context(), 7)
		if err != nil {
			b.Fatal(err)
		}
		m.recordAnswer(tk, 200, h)
	}
}

// The refusals of one burst count as one. Only a refusal of a later call doubles the wait.
func TestRefusedBurstIsOneRefusal(t *testing.T) {
	now := epoch
	l := newLimits()
	refused := func(n int, at time.Time) {
		for range n {
			now = now.Add(10 * time.Millisecond)
			l.update(rates{retryAfter: -1}, reservation{at: at}, 0, http.StatusTooManyRequests, now)
		}
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 64} {
		refused(50, now)
		if wait := l.wait(now, asking{}); wait > want*time.Second || wait < want*time.Second-500*time.Millisecond {
			t.Errorf("after burst %d of 50 no call is made for %v, want %v", i+1, wait, want*time.Second)
		}
		now = now.Add(want * time.Second)
	}
	l.update(rates{retryAfter: -1}, reservation{at: now}, 0, http.StatusOK, now)
	refused(50, now)
	if wait := l.wait(now, asking{}); wait > time.Second {
		t.Errorf("after an answer with success: %v", wait)
	}
}

// A wait for the answers of running calls is no trouble with Procore: a healthy process that starts with many calls has none.
func TestWaitForAnswersIsNoTrouble(t *testing.T) {
	m := newLimiter(false)
	if _, err := m.reserve(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	_, err := m.reserve(t.Context(), 7)
	if fault.ClassOf(err) != fault.Throttled {
		t.Fatalf("a second call before an answer: %v", err)
	}
	var tracker trouble.Tracker
	_ = tracker.Begin(7)(fault.From(fault.FromProcore, fault.Clean(err, "secret")))
	if is, bad := tracker.Now(7, fault.FromProcore, time.Now(), time.Minute); bad {
		t.Errorf("it is a trouble: %+v", is)
	}
	_ = tracker.Begin(7)(fault.From(fault.FromProcore, fault.Wait(time.Minute, errNoQuota)))
	if _, bad := tracker.Now(7, fault.FromProcore, time.Now(), time.Minute); !bad {
		t.Error("a used-up limit is no trouble")
	}
}
