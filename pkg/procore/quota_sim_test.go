package procore

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// epoch is when a simulation begins, not at a whole second.
var epoch = time.Date(2026, 11, 25, 12, 0, 0, 345e6, time.UTC)

// simulation is a small Procore and the processes that call it, in simulated time. Nothing is concurrent, so a seed always gives
// the same run.
type simulation struct {
	t       *testing.T
	rng     *rand.Rand
	now     time.Time // Procore's
	events  events
	hour    fakeWindow
	spike   fakeWindow
	byTime  bool // an answer shows the window whose reset is nearer, not the one with fewer calls left
	floor   bool // resets are cut to the second, not rounded up
	lose    float64
	slow    float64 // answers that take seconds
	refused int     // 429s
	made    int
	early   int                    // calls that a process sent before the time that a 429 named
	until   map[*limiter]time.Time // when a process may call again after a 429

	apart     bool                   // each company has windows of its own, as large as the client's
	companies map[int64]*fakeCompany // those that called
}

// fakeCompany is a company of the client.
type fakeCompany struct {
	hour, spike fakeWindow
	made        int
	longest     time.Duration // that a call waited until it went
}

func (w *simulation) company(id int64) *fakeCompany {
	if w.companies[id] == nil {
		w.companies[id] = &fakeCompany{hour: fakeWindow{limit: w.hour.limit, size: w.hour.size}, spike: fakeWindow{limit: w.spike.limit, size: w.spike.size}}
	}
	return w.companies[id]
}

type fakeWindow struct {
	limit, used int
	size        time.Duration
	ends        time.Time
	full        []int // calls of each window that is over
}

func (w *fakeWindow) roll(now time.Time) {
	if !now.Before(w.ends) {
		if w.used > 0 {
			w.full = append(w.full, w.used)
		}
		w.used, w.ends = 0, now.Add(w.size)
	}
}

type event struct {
	at time.Time
	do func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

func (w *simulation) after(d time.Duration, do func()) {
	heap.Push(&w.events, event{w.now.Add(d), do})
}

func (w *simulation) run(d time.Duration) {
	for end := w.now.Add(d); len(w.events) > 0 && w.events[0].at.Before(end); {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
}

// process returns the limiter of a process whose wall clock is wrong by skew.
func (w *simulation) process(skew time.Duration) *limiter {
	m := newLimiter(false)
	m.now = func() time.Time { return w.now.Add(skew) }
	m.spread = func(d time.Duration) time.Duration { // as jitter does
		return d + time.Duration(w.rng.Int64N(int64(min(max(d/10, 100*time.Millisecond), 10*time.Second))))
	}
	return m
}

// answer answers a call of company 7.
func (w *simulation) answer() (int, http.Header) { return w.answerTo(7) }

// answerTo counts a call of a company, or refuses it, and returns the status and the headers, which show one window.
func (w *simulation) answerTo(id int64) (int, http.Header) {
	company := w.company(id)
	hour, spike := &w.hour, &w.spike
	if w.apart {
		hour, spike = &company.hour, &company.spike
	}
	hour.roll(w.now)
	spike.roll(w.now)
	status := http.StatusOK
	if hour.used >= hour.limit || spike.used >= spike.limit {
		status = http.StatusTooManyRequests
		w.refused++
	} else {
		hour.used++
		spike.used++
		w.made++
		company.made++
	}
	show := spike
	if w.byTime && hour.ends.Before(spike.ends) || !w.byTime && hour.limit-hour.used <= spike.limit-spike.used {
		show = hour
	}
	reset := show.ends.Unix()
	if show.ends.Nanosecond() > 0 && !w.floor {
		reset++
	}
	return status, headers(show.limit, show.limit-show.used, reset, w.now)
}

func headers(limit, left int, reset int64, date time.Time) http.Header {
	h := http.Header{}
	h.Set("X-Rate-Limit-Limit", strconv.Itoa(limit))
	h.Set("X-Rate-Limit-Remaining", strconv.Itoa(left))
	h.Set("X-Rate-Limit-Reset", strconv.FormatInt(reset, 10))
	h.Set("Date", date.UTC().Format(http.TimeFormat))
	return h
}

// caller calls for company 7 again and again, and waits as the limiter says.
func (w *simulation) caller(m *limiter, bulk bool) { w.client(m, caller{company: 7, bulk: bulk}) }

// caller calls for a company.
type caller struct {
	company int64
	bulk    bool
	pause   time.Duration // between two calls
	times   int           // calls to make; 0: endless
	asked   time.Time     // when the waiting call was first requested; zero: none waits
}

// client makes the calls of a caller.
func (w *simulation) client(m *limiter, c caller) {
	ctx := context.Background()
	if c.bulk {
		ctx = Bulk(ctx)
	}
	if c.asked.IsZero() {
		c.asked = w.now
	}
	t, err := m.reserve(ctx, c.company)
	if err != nil {
		if fault.ClassOf(err) != fault.Throttled || fault.RetryAfter(err) <= 0 || fault.RetryAfter(err) > time.Hour+2*time.Minute {
			w.t.Fatalf("no call: %v, after %v", err, fault.RetryAfter(err))
		}
		w.after(fault.RetryAfter(err), func() { w.client(m, c) })
		return
	}
	if w.now.Before(w.until[m]) && !w.byTime { // else the answer did not show the window that is used up
		w.early++
	}
	company := w.company(c.company)
	company.longest = max(company.longest, w.now.Sub(c.asked))
	c.asked = time.Time{}
	again := func() {
		if c.times--; c.times != 0 {
			w.after(c.pause, func() { w.client(m, c) })
		}
	}
	w.after(w.trip(), func() {
		if w.rng.Float64() < w.lose/2 {
			w.after(30*time.Second, func() { m.recordFailure(t); again() })
			return
		}
		status, h := w.answerTo(c.company)
		var reset time.Time
		if status == http.StatusTooManyRequests && !w.apart {
			if reset = w.spike.ends; w.hour.used >= w.hour.limit {
				reset = w.hour.ends
			}
		}
		back := w.trip()
		if w.rng.Float64() < w.slow {
			back += time.Duration(w.rng.Int64N(int64(20 * time.Second)))
		}
		w.after(back, func() {
			if w.rng.Float64() < w.lose/2 {
				m.recordFailure(t)
			} else {
				m.recordAnswer(t, status, h)
				if reset.After(w.until[m]) {
					w.until[m] = reset
				}
			}
			again()
		})
	})
}

func (w *simulation) trip() time.Duration {
	return time.Millisecond + time.Duration(w.rng.Int64N(int64(150*time.Millisecond)))
}

func newSimulation(t *testing.T, seed uint64, hourly, spikes int) *simulation {
	return &simulation{
		t: t, rng: rand.New(rand.NewPCG(seed, 6)), now: epoch, until: map[*limiter]time.Time{}, companies: map[int64]*fakeCompany{},
		hour: fakeWindow{limit: hourly, size: time.Hour}, spike: fakeWindow{limit: spikes, size: 10 * time.Second},
	}
}

// Whichever way Procore shows and rounds its windows, and however wrong the local clocks are, processes that share a client
// learn what the others do from the headers: at most one call in a hundred is refused, most of each window is used, and a process
// with few calls finds some left.
func TestProcessesThatShareAClient(t *testing.T) {
	for _, c := range []struct {
		name             string
		hourly, spikes   int
		byTime, floor    bool
		processes, calls int // busy processes, and the callers of each
		quiet            int // processes that make a call every 7 to 22 s
		slow             float64
		during           time.Duration
		least            float64 // of each window is used
	}{
		{name: "one process", hourly: 100_000, spikes: 25, processes: 1, calls: 30, during: 20 * time.Minute, least: 0.99},
		{name: "one process, the hour binds", hourly: 400, spikes: 25, processes: 1, calls: 30, during: 4 * time.Hour, least: 0.99},
		{name: "two processes", hourly: 100_000, spikes: 25, processes: 2, calls: 8, during: 20 * time.Minute, least: 0.9},
		{name: "four processes", hourly: 100_000, spikes: 25, processes: 4, calls: 8, during: 20 * time.Minute, least: 0.8},
		{name: "eight processes with many callers", hourly: 100_000, spikes: 25, processes: 8, calls: 16, during: 20 * time.Minute, least: 0.8},
		{name: "a larger limit", hourly: 100_000, spikes: 100, processes: 8, calls: 16, during: 20 * time.Minute, least: 0.9},
		{name: "the hour binds", hourly: 400, spikes: 25, processes: 4, calls: 8, during: 4 * time.Hour, least: 0.9},
		{name: "3,600 an hour", hourly: 3600, spikes: 25, processes: 4, calls: 8, during: 3 * time.Hour, least: 0.95},
		{name: "the window shown is the one nearer in time", hourly: 100_000, spikes: 25, byTime: true, processes: 4, calls: 8, during: 20 * time.Minute, least: 0.8},
		{name: "both windows have the same limit", hourly: 60, spikes: 60, processes: 3, calls: 8, during: 3 * time.Hour, least: 0.8},
		{name: "slow answers", hourly: 100_000, spikes: 25, processes: 3, calls: 6, slow: 0.2, during: 20 * time.Minute, least: 0.75},
		{name: "resets are cut to the second", hourly: 100_000, spikes: 25, floor: true, processes: 4, calls: 8, during: 20 * time.Minute, least: 0.8},
		{name: "one busy process beside quiet ones", hourly: 100_000, spikes: 25, processes: 1, calls: 30, quiet: 6, during: 20 * time.Minute, least: 0.9},
		{name: "two busy processes beside quiet ones", hourly: 100_000, spikes: 25, processes: 2, calls: 8, quiet: 5, during: 20 * time.Minute, least: 0.85},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(2) {
				w := newSimulation(t, seed, c.hourly, c.spikes)
				w.byTime, w.floor, w.slow = c.byTime, c.floor, c.slow
				for i := range c.processes {
					m := w.process(time.Duration(i*i-3) * 7 * time.Minute)
					for range c.calls {
						w.after(w.trip(), func() { w.caller(m, false) })
					}
				}
				for i := range c.quiet {
					m := w.process(0)
					w.after(w.trip(), func() { w.client(m, caller{company: int64(300 + i), pause: time.Duration(7+3*i) * time.Second}) })
				}
				w.run(c.during)
				w.fewRefused(seed)
				w.used(seed, c.least)
				for i := range c.quiet {
					if co := w.company(int64(300 + i)); co.longest > 15*time.Second {
						t.Errorf("seed %d: a quiet process waited %v for a call", seed, co.longest)
					}
				}
			}
		})
	}
}

// fewRefused checks that at most one call in a hundred was refused, or one in a short simulation.
func (w *simulation) fewRefused(seed uint64) {
	w.t.Helper()
	if w.refused > max(1, (w.made+w.refused)/100) {
		w.t.Errorf("seed %d: %d of %d calls were refused", seed, w.refused, w.made+w.refused)
	}
	if w.early > 0 {
		w.t.Errorf("seed %d: %d calls of a process were sent while it was to wait", seed, w.early)
	}
}

// used checks which part of the binding window was used.
func (w *simulation) used(seed uint64, least float64) {
	w.t.Helper()
	best := 0.0
	for _, x := range []*fakeWindow{&w.hour, &w.spike} {
		sum := 0
		for _, n := range x.full {
			sum += n
		}
		if len(x.full) > 1 {
			best = max(best, float64(sum)/float64(x.limit*len(x.full)))
		}
	}
	if best < least {
		w.t.Errorf("seed %d: %.0f %% of the window that binds was used: hours %v, spikes %v", seed, best*100, w.hour.full, w.spike.full)
	}
}

// A lost answer is not counted until the next answer shows whether Procore counted it.
func TestLostAnswersDoNotSpendTheHour(t *testing.T) {
	for seed := range uint64(10) {
		w := newSimulation(t, seed, 300, 1000)
		w.lose = 0.5
		m := w.process(0)
		for range 20 {
			w.after(w.trip(), func() { w.caller(m, false) })
		}
		w.run(59 * time.Minute)
		if w.refused > 3 || w.made < 270 {
			t.Errorf("seed %d: %d of 300 calls made, %d refused", seed, w.made, w.refused)
		}
	}
}
