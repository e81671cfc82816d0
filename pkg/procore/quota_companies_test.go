package procore

import (
	"testing"
	"time"
)

// shared is a process whose client several companies have.
func (w *simulation) shared(skew time.Duration) *limiter {
	m := w.process(skew)
	m.companies = map[int64]*limits{}
	return m
}

// busy starts callers of a company in each process.
func (w *simulation) busy(processes []*limiter, company int64, callers int, pause time.Duration, bulk bool) {
	for _, m := range processes {
		for range callers {
			w.after(w.trip(), func() { w.client(m, caller{company: company, bulk: bulk, pause: pause}) })
		}
	}
}

func (w *simulation) processes(n int) (all []*limiter) {
	for i := range n {
		all = append(all, w.shared(time.Duration(i*i-3)*7*time.Minute))
	}
	return all
}

var counting = []struct {
	name  string
	apart bool
}{{"by client", false}, {"by company", true}}

// Whichever way Procore counts, hardly a call is refused, and no company starves another.
func TestCompaniesThatShareAClient(t *testing.T) {
	for _, c := range []struct {
		name           string
		hourly, spikes int
		byTime         bool
		heavy, light   int
		first, then    time.Duration // at first the size of the hour is not known, if it binds
		longest        time.Duration // that a company with few calls waits
	}{
		{name: "the spike window binds", hourly: 100_000, spikes: 25, heavy: 2, light: 2, then: 5 * time.Minute, longest: 25 * time.Second},
		{name: "the window shown is the one nearer in time", hourly: 100_000, spikes: 25, byTime: true, heavy: 2, light: 2, then: 5 * time.Minute, longest: 25 * time.Second},
		{name: "the hour binds", hourly: 400, spikes: 25, heavy: 2, light: 1, first: 61 * time.Minute, then: 3 * time.Hour, longest: 62 * time.Minute},
		{name: "many companies", hourly: 100_000, spikes: 25, heavy: 6, then: 2 * time.Minute},
		{name: "one busy company", hourly: 100_000, spikes: 25, heavy: 1, light: 4, then: 4 * time.Minute, longest: 25 * time.Second},
	} {
		for _, by := range counting {
			t.Run(c.name+", "+by.name, func(t *testing.T) {
				for seed := range uint64(2) {
					w := newSimulation(t, seed, c.hourly, c.spikes)
					w.byTime, w.apart = c.byTime, by.apart
					all := w.processes(3)
					for i := range c.heavy {
						w.busy(all, int64(100+i), 4, 0, false)
					}
					for i := range c.light {
						w.busy(all[:1], int64(200+i), 1, 7*time.Second, false)
					}
					w.run(c.first)
					w.refused = 0
					w.run(c.then)
					w.fewRefused(seed)
					if got := all[0].apart; got != by.apart && c.heavy > 1 {
						t.Errorf("seed %d: counted apart is %v", seed, got)
					}
					w.fair(seed, c.heavy, c.light, c.longest)
				}
			})
		}
	}
}

// fair checks that busy companies get about equally many calls, and most of the calls that there are, and that companies with few
// calls get them soon.
func (w *simulation) fair(seed uint64, heavy, light int, longest time.Duration) {
	w.t.Helper()
	least, mostMade := 1<<30, 0
	for i := range heavy {
		co := w.company(int64(100 + i))
		least, mostMade = min(least, co.made), max(mostMade, co.made)
		if w.apart {
			was := w.hour.full
			one := *w
			one.hour, one.spike = co.hour, co.spike
			one.used(seed, 0.75)
			w.hour.full = was
		}
	}
	if least*10 < mostMade*7 {
		w.t.Errorf("seed %d: of the busy companies one made %d calls and another %d", seed, least, mostMade)
	}
	for i := range light {
		if co := w.company(int64(200 + i)); co.longest > longest {
			w.t.Errorf("seed %d: a company with few calls waited %v", seed, co.longest)
		}
	}
	if !w.apart {
		w.used(seed, 0.65)
	}
}

// A company that begins to call when another has used up the hour finds calls left: the last fifth where Procore counts by
// client, and all of its own where it counts by company.
func TestLateCompanyFindsCallsLeft(t *testing.T) {
	for _, by := range counting {
		t.Run(by.name, func(t *testing.T) {
			for seed := range uint64(2) {
				w := newSimulation(t, seed, 400, 25)
				w.apart = by.apart
				all := w.processes(1)
				w.busy(all, 100, 8, 0, false)
				for i := range 17 {
					w.after(time.Duration(i)*5*time.Minute, func() { w.client(all[0], caller{company: 200, times: 5}) })
				}
				w.run(85 * time.Minute)
				first := w.company(100).made
				w.company(200).made, w.refused = 0, 0
				w.busy(all, 200, 1, 0, false)
				w.run(20 * time.Minute)
				want := 40
				if by.apart {
					want = 300
				}
				if got := w.company(200).made; got < want || w.refused > 0 {
					t.Errorf("seed %d: the first made %d, then the other made %d calls, want %d; %d refused", seed, first, got, want, w.refused)
				}
			}
		})
	}
}

// A company with many concurrent calls gets no more than one with few.
func TestCompanyWithMoreConcurrentCallsGetsNoMore(t *testing.T) {
	for seed := range uint64(2) {
		w := newSimulation(t, seed, 100_000, 25)
		all := w.processes(2)
		w.busy(all, 100, 20, 0, false)
		w.busy(all[:1], 101, 4, 0, false)
		w.run(8 * time.Minute)
		w.fewRefused(seed)
		w.fair(seed, 2, 0, 0)
	}
}

// Before it is known how Procore counts, an answer for another company does not admit calls of a company that has used up its own
// window.
func TestUnknownWayOfCounting(t *testing.T) {
	w := newSimulation(t, 1, 1000, 25)
	w.apart = true
	m := w.shared(0)
	call := func(id int64) bool {
		tk, err := m.reserve(t.Context(), id)
		if err != nil {
			return false
		}
		status, h := w.answerTo(id)
		m.recordAnswer(tk, status, h)
		return true
	}
	for range 15 {
		call(7)
	}
	w.now = w.company(7).spike.ends.Add(-900 * time.Millisecond) // too late for its answers to show how Procore counts
	if !call(8) || m.apart {
		t.Fatal("the other company's first call does not go, or shows how Procore counts")
	}
	more := 0
	for more < 25 && call(7) {
		more++
	}
	if more > 10 || w.refused > 0 {
		t.Errorf("%d calls went of a company that had 10 left, %d were refused", more, w.refused)
	}
}

// Syncs of two companies share what bulk work may use.
func TestBulkWorkOfCompaniesTakesTurns(t *testing.T) {
	for seed := range uint64(2) {
		w := newSimulation(t, seed, 100_000, 25)
		all := w.processes(2)
		w.busy(all, 100, 8, 0, true)
		w.busy(all, 101, 8, 0, true)
		w.busy(all[:1], 200, 1, 7*time.Second, false)
		w.run(8 * time.Minute)
		w.fair(seed, 2, 1, 15*time.Second)
		w.fewRefused(seed)
	}
}

// Procore may change how it counts. The answers show it within minutes.
func TestWayOfCountingMayChange(t *testing.T) {
	for seed := range uint64(2) {
		w := newSimulation(t, seed, 100_000, 25)
		all := w.processes(2)
		w.busy(all, 100, 4, 0, false)
		w.busy(all, 101, 4, 0, false)
		for i, apart := range []bool{false, true, false, true} {
			w.apart = apart
			w.run(6 * time.Minute)
			w.company(100).made, w.company(101).made = 0, 0
			w.run(4 * time.Minute)
			a, b, all := w.company(100).made, w.company(101).made, 4*6*w.spike.limit
			if !apart {
				all /= 2
			}
			if least := all * 6 / 10; a < least || b < least {
				t.Errorf("seed %d, change %d: the companies made %d and %d calls, want at least %d each", seed, i, a, b, least)
			}
		}
		w.early = 0 // a process may wait for a window of the other way of counting
		w.fewRefused(seed)
	}
}

// If companies share the limits, a company has its share of the remaining calls.
func TestQuotaOfCompanyIsItsShare(t *testing.T) {
	w := newSimulation(t, 1, 1000, 25)
	m := w.shared(0)
	for _, id := range []int64{7, 8, 7, 8, 7} {
		tk, err := m.reserve(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Millisecond)
		status, h := w.answerTo(id)
		m.recordAnswer(tk, status, h)
	}
	if q, known := m.left(7); !known || q.Limit != 25 || q.Remaining != 10 {
		t.Errorf("%+v, want half of the 20 that are left", q)
	}
	if s := m.status().Client; s.Spike.Remaining != 20 {
		t.Errorf("%+v; want all that are left", s)
	}
}
