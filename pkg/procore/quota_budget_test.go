package procore

import (
	"fmt"
	"testing"
	"time"
)

// shared is a process whose client several companies have.
func (w *world) shared(name string, skew time.Duration) *limiter {
	m := w.meter(name, skew)
	m.multiCompany = true
	return m
}

// busy has a company call with so many callers in each process.
func (w *world) busy(processes []*limiter, company int64, callers int, pause time.Duration, bulk bool) {
	for _, m := range processes {
		for range callers {
			w.after(w.trip(), func() { w.client(m, caller{company: company, bulk: bulk, pause: pause}) })
		}
	}
}

func (w *world) processes(n int) (all []*limiter) {
	for i := range n {
		all = append(all, w.shared(fmt.Sprint("p", i), time.Duration(i*i-3)*7*time.Minute))
	}
	return all
}

func (w *world) stored() (b budget) {
	w.t.Helper()
	b, _, err := unseal[budget](w.store.value, "7", secret)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

var counting = []struct {
	name  string
	apart bool
}{{"by client", false}, {"by company", true}}

// Whichever way Procore counts, no call is made while a window is spent, and no company starves another.
func TestCompaniesThatShareAClientAreNeverRefused(t *testing.T) {
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
					if w.refused > 0 {
						t.Errorf("seed %d: %d of %d calls were refused", seed, w.refused, w.made)
					}
					if got := w.stored().Apart; got != by.apart && c.heavy > 1 {
						t.Errorf("seed %d: counted apart is %v", seed, got)
					}
					w.fair(seed, c.heavy, c.light, c.longest)
				}
			})
		}
	}
}

// fair insists that busy companies get about as much as each other, nearly all that there is, and that those with few calls get them soon.
func (w *world) fair(seed uint64, heavy, light int, longest time.Duration) {
	w.t.Helper()
	least, mostMade := 1<<30, 0
	for i := range heavy {
		co := w.company(int64(100 + i))
		least, mostMade = min(least, co.made), max(mostMade, co.made)
		if w.apart {
			was := w.hour.full
			one := *w
			one.hour, one.spike = co.hour, co.spike
			one.used(seed, 0.85)
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
		w.used(seed, 0.75)
	}
}

// A company that comes when another has used the hour up finds calls left: the last fifth where Procore counts by
// client, and all of its own where it counts by company, which sweeps had shown.
func TestACompanyThatComesLateFindsCallsLeft(t *testing.T) {
	for _, by := range counting {
		t.Run(by.name, func(t *testing.T) {
			for seed := range uint64(2) {
				w := newSimulation(t, seed, 400, 25)
				w.apart = by.apart
				all := w.processes(2)
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

// A company with many calls under way at once gets no more than one with few.
func TestACompanyThatPushesHarderGetsNoMore(t *testing.T) {
	for seed := range uint64(2) {
		w := newSimulation(t, seed, 100_000, 25)
		all := w.processes(2)
		w.busy(all, 100, 20, 0, false)
		w.busy(all[:1], 101, 4, 0, false)
		w.run(8 * time.Minute)
		if w.refused > 0 {
			t.Errorf("seed %d: %d refused", seed, w.refused)
		}
		w.fair(seed, 2, 0, 0)
	}
}

// Before it is known how Procore counts, an answer to another company does not let a company call that has spent its
// own window.
func TestUntilItIsKnownBothWaysOfCountingBind(t *testing.T) {
	w := newSimulation(t, 1, 1000, 25)
	w.apart = true
	m := w.shared("a", 0)
	m.store = nil
	call := func(id int64) bool {
		tk, err := m.reserve(t.Context(), id)
		if err != nil {
			return false
		}
		sent := m.clock.local()
		status, h := w.answerTo(id)
		m.recordAnswer(tk, sent, status, h)
		return true
	}
	for range 15 {
		call(7)
	}
	w.now = w.company(7).spike.ends.Add(-900 * time.Millisecond) // too late for its answers to say how Procore counts
	if !call(8) || m.budget.Apart {
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
		if w.refused > 0 {
			t.Errorf("seed %d: %d refused", seed, w.refused)
		}
	}
}

// Procore may change how it counts: that is learned within seconds, from the answers.
func TestTheWayOfCountingIsLearnedAnew(t *testing.T) {
	for seed := range uint64(2) {
		w := newSimulation(t, seed, 100_000, 25)
		all := w.processes(2)
		w.busy(all, 100, 4, 0, false)
		w.busy(all, 101, 4, 0, false)
		for i, apart := range []bool{false, true, false, true} {
			w.apart = apart
			w.run(time.Minute)
			refused := w.refused
			w.run(3 * time.Minute)
			if got := w.stored().Apart; got != apart || w.refused != refused {
				t.Errorf("seed %d, change %d: counted apart is %v, want %v; %d calls were refused a minute later", seed, i, got, apart, w.refused-refused)
			}
		}
		if w.refused > 60 { // when it begins to count by client, at full load
			t.Errorf("seed %d: %d of %d calls were refused", seed, w.refused, w.made)
		}
	}
}

// Of a client of one company nothing more is kept than before.
func TestAClientOfOneCompanyHasNoParts(t *testing.T) {
	w := newSimulation(t, 1, 1000, 25)
	w.play(t.Context(), w.meter("a", 0))
	if b := w.stored(); b.Parts != nil || b.Spike.Left != 0 {
		t.Errorf("the store has %s", w.store.value)
	}
}

// What is left is told of the company: its share where companies share.
func TestQuotaTellsTheCompanysShare(t *testing.T) {
	w := newSimulation(t, 1, 1000, 25)
	m := w.shared("a", 0)
	for _, id := range []int64{7, 8, 7, 8, 7} {
		tk, err := m.reserve(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		sent := m.clock.local()
		w.now = w.now.Add(time.Millisecond)
		status, h := w.answerTo(id)
		m.recordAnswer(tk, sent, status, h)
	}
	if q, known := m.left(7); !known || q.Limit != 25 || q.Remaining != 10 {
		t.Errorf("%+v, want half of the 20 that are left", q)
	}
	b := w.stored()
	s := b.status(8, w.now)
	if s.Spike.Remaining != 20 {
		t.Errorf("%+v; want all that are left", s)
	}
}
