package procore

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/fault"
)

// fakeStore is a Store in memory, for meters that a test plays one after the other.
type fakeStore struct {
	value    []byte
	revision uint64
	down     bool
}

func (f *fakeStore) Read(context.Context, string) ([]byte, uint64, error) {
	if f.down {
		return nil, 0, errStoreUnavailable
	}
	return f.value, f.revision, nil
}

func (f *fakeStore) Swap(_ context.Context, _ string, value []byte, revision uint64) (uint64, bool, error) {
	if f.down {
		return 0, false, errStoreUnavailable
	}
	if revision != f.revision {
		return 0, false, nil
	}
	f.value, f.revision = value, f.revision+1
	return f.revision, true, nil
}

// secret is that of the client.
const secret = "the client's secret"

// epoch is when a simulation begins, at no whole second.
var epoch = time.Date(2026, 11, 25, 12, 0, 0, 345e6, time.UTC)

// world is a small Procore and those that call it, in a time of its own: nothing runs at once,
// and a seed plays the same again.
type world struct {
	t        *testing.T
	rng      *rand.Rand
	now      time.Time // Procore's
	events   events
	store    *fakeStore
	hour     fakeWindow
	spike    fakeWindow
	byTime   bool // an answer shows the window whose reset is nearer, not the one with fewer calls left
	floor    bool // resets are cut to the second, not rounded up
	lose     float64
	slow     float64 // answers that take seconds
	refused  int     // 429s
	made     int
	byCaller map[string]int

	apart     bool                   // each company has windows of its own, as large as the client's
	companies map[int64]*fakeCompany // those that called
}

// fakeCompany is a company of the client.
type fakeCompany struct {
	hour, spike fakeWindow
	made        int
	longest     time.Duration // that a call waited until it went
}

func (w *world) company(id int64) *fakeCompany {
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

func (w *world) after(d time.Duration, do func()) {
	heap.Push(&w.events, event{w.now.Add(d), do})
}

func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); len(w.events) > 0 && w.events[0].at.Before(end); {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
}

// meter is a process whose wall clock is wrong by skew, and that has logged in.
func (w *world) meter(name string, skew time.Duration) *limiter {
	m := &limiter{clock: procoreClock{local: func() time.Time { return w.now.Add(skew) }}, timeout: 30 * time.Second, key: "7", me: name}
	m.store, m.secret, m.log = w.store, func() string { return secret }, zap.NewNop()
	m.spread = func(d time.Duration) time.Duration { // as jitter does
		return d + time.Duration(w.rng.Int64N(int64(min(max(d/10, 100*time.Millisecond), 10*time.Second))))
	}
	h := http.Header{}
	h.Set("Date", w.now.UTC().Format(http.TimeFormat))
	m.clock.update(h, m.clock.local())
	return m
}

// answer is Procore to company 7.
func (w *world) answer() (int, http.Header) { return w.answerTo(7) }

// answerTo is Procore: it counts a call of a company, or refuses it, and shows one window.
func (w *world) answerTo(id int64) (int, http.Header) {
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

// caller calls for company 7 again and again, and waits as it is told.
func (w *world) caller(m *limiter, bulk bool) { w.client(m, caller{company: 7, bulk: bulk}) }

// caller calls for a company.
type caller struct {
	company int64
	bulk    bool
	pause   time.Duration // between two calls
	times   int           // calls to make; 0: endless
	asked   time.Time     // when the call that waits was first asked for; zero: none waits
}

// client is a caller at work.
func (w *world) client(m *limiter, c caller) {
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
	company := w.company(c.company)
	company.longest = max(company.longest, w.now.Sub(c.asked))
	c.asked = time.Time{}
	again := func() {
		if c.times--; c.times != 0 {
			w.after(c.pause, func() { w.client(m, c) })
		}
	}
	sent := m.clock.local()
	w.after(w.trip(), func() {
		if w.rng.Float64() < w.lose/2 {
			w.after(30*time.Second, func() { m.recordFailure(t, lost); again() })
			return
		}
		status, h := w.answerTo(c.company)
		if status == http.StatusOK {
			w.byCaller[m.me]++
		}
		back := w.trip()
		if w.rng.Float64() < w.slow {
			back += time.Duration(w.rng.Int64N(int64(20 * time.Second)))
		}
		w.after(back, func() {
			if w.rng.Float64() < w.lose/2 {
				m.recordFailure(t, lost)
			} else {
				m.recordAnswer(t, sent, status, h)
			}
			again()
		})
	})
}

func (w *world) trip() time.Duration {
	return time.Millisecond + time.Duration(w.rng.Int64N(int64(150*time.Millisecond)))
}

func newSimulation(t *testing.T, seed uint64, hourly, spikes int) *world {
	return &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 6)), now: epoch, store: &fakeStore{}, byCaller: map[string]int{}, companies: map[int64]*fakeCompany{},
		hour: fakeWindow{limit: hourly, size: time.Hour}, spike: fakeWindow{limit: spikes, size: 10 * time.Second},
	}
}

// Whichever way Procore shows and rounds its windows, however wrong our clocks are: processes
// that share a client are never refused, and use nearly all that they may.
func TestProcessesThatShareAClientAreNeverRefused(t *testing.T) {
	for _, c := range []struct {
		name             string
		hourly, spikes   int
		byTime, floor    bool
		processes, calls int
		slow             float64
		for_             time.Duration
		least            float64 // of each window is used
	}{
		{name: "the spike window binds", hourly: 100_000, spikes: 25, processes: 4, calls: 8, for_: 20 * time.Minute, least: 0.9},
		{name: "the hour binds", hourly: 400, spikes: 25, processes: 4, calls: 8, for_: 4 * time.Hour, least: 0.9},
		{name: "the window shown is the one nearer in time", hourly: 100_000, spikes: 25, byTime: true, processes: 4, calls: 8, for_: 20 * time.Minute, least: 0.9},
		{name: "many callers for few calls", hourly: 100_000, spikes: 5, processes: 8, calls: 16, for_: 20 * time.Minute, least: 0.9},
		{name: "both windows have the same limit", hourly: 60, spikes: 60, processes: 3, calls: 8, for_: 3 * time.Hour, least: 0.9},
		{name: "slow answers", hourly: 100_000, spikes: 25, processes: 3, calls: 6, slow: 0.2, for_: 20 * time.Minute, least: 0.8},
		{name: "resets are cut to the second", hourly: 100_000, spikes: 25, floor: true, processes: 4, calls: 8, for_: 20 * time.Minute, least: 0.9},
		{name: "one process", hourly: 100_000, spikes: 25, processes: 1, calls: 30, for_: 20 * time.Minute, least: 0.9},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(4) {
				w := newSimulation(t, seed, c.hourly, c.spikes)
				w.byTime, w.floor, w.slow = c.byTime, c.floor, c.slow
				for i := range c.processes {
					m := w.meter(fmt.Sprint("p", i), time.Duration(i*i-3)*7*time.Minute)
					for range c.calls {
						w.after(w.trip(), func() { w.caller(m, false) })
					}
				}
				w.run(c.for_)
				if w.refused > 0 {
					t.Errorf("seed %d: %d of %d calls were refused", seed, w.refused, w.made)
				}
				w.used(seed, c.least)
			}
		})
	}
}

// used insists that of the windows that are over nearly all was used, in the one that binds.
func (w *world) used(seed uint64, least float64) {
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

// A process that dies with calls under way takes nothing along but for a while, and causes no refusal.
func TestClaimsOfADeadProcessLapse(t *testing.T) {
	for seed := range uint64(8) {
		w := newSimulation(t, seed, 100_000, 10)
		dead, alive := w.meter("dead", 0), w.meter("alive", 0)
		for range 8 {
			w.after(w.trip(), func() { w.caller(alive, false) })
		}
		w.run(25 * time.Second)
		for range 10 { // it claims all there is, and is never heard of again
			_, _ = dead.reserve(t.Context(), 7)
		}
		before := w.byCaller["alive"]
		w.run(2 * time.Minute)
		if w.refused > 0 || w.byCaller["alive"]-before < 50 {
			t.Errorf("seed %d: %d calls in two minutes, %d refused", seed, w.byCaller["alive"]-before, w.refused)
		}
		if b := w.stored(); b.Claims["dead"].Calls != 0 {
			t.Errorf("claims %v", b.Claims)
		}
	}
}

// Answers that are lost take calls off only until it is known better: they never stop all.
func TestLostAnswersDoNotSpendTheHour(t *testing.T) {
	for seed := range uint64(10) {
		w := newSimulation(t, seed, 300, 1000)
		w.lose = 0.5
		m := w.meter("p", 0)
		for range 20 {
			w.after(w.trip(), func() { w.caller(m, false) })
		}
		w.run(59 * time.Minute)
		if w.refused > 3 || w.made < 270 { // in doubt, one call finds out
			t.Errorf("seed %d: %d of 300 calls made, %d refused", seed, w.made, w.refused)
		}
	}
}

// Of what the broker forgets each process has a copy that is nearly right.
func TestAStoreThatForgetsCausesHardlyARefusal(t *testing.T) {
	for seed := range uint64(10) {
		w := newSimulation(t, seed, 100_000, 25)
		for i := range 4 {
			m := w.meter(fmt.Sprint("p", i), 0)
			for range 8 {
				w.after(w.trip(), func() { w.caller(m, false) })
			}
		}
		for i := range 20 {
			w.after(time.Duration(i)*30*time.Second, func() { w.store.value, w.store.revision = nil, 0 })
		}
		w.run(10 * time.Minute)
		if w.refused > 2 { // of 20 times, at full load
			t.Errorf("seed %d: %d refused", seed, w.refused)
		}
		w.used(seed, 0.8)
	}
}
