package endtoend

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/broker"
)

// sharing opens the clients of one more process on a broker.
func (w *world) sharing(srv *broker.Server) *procore.Client {
	w.Helper()
	b, err := bus.Connect(w.Context(), bus.Options{InProcess: srv.InProcess(), Name: "sharing", Log: zap.NewNop()})
	w.must(err)
	w.Cleanup(b.Close)
	companies, err := company.Load(w.file)
	w.must(err)
	client, err := procore.New(procore.Config{APIURL: w.url, LoginURL: w.url}, companies, prometheus.NewRegistry())
	w.must(err)
	quota, err := b.OpenQuota(w.Context(), 1)
	w.must(err)
	client.ShareLimits(quota)
	return client
}

// session gives the session of a company.
func (w *world) session(c *procore.Client, company int64) *procore.Session {
	w.Helper()
	s, err := c.Company(company)
	w.must(err)
	return s
}

// obey calls until ctx ends, and waits as it is told, as a consumer does.
func obey(ctx context.Context, s *procore.Session, made func()) {
	for ctx.Err() == nil {
		_, err := s.Do(ctx, procore.Call{Route: procore.GetERPRequest, ID: 1})
		if procore.Gone(err) { // there is no such request: it is a call like any other
			made()
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(fault.RetryAfter(err)):
		}
	}
}

// Five processes, forty callers, one client of 25 calls in 10 seconds (sped up): Procore never
// answers 429, and each window is used.
func TestProcessesThatShareAClientNeverMeetA429(t *testing.T) {
	t.Parallel()
	const processes, callers, limit, windows, speed = 5, 8, 25, 6, 4
	w := newWorld(t, setup{noHooks: true, limits: sandbox.Config{HourlyLimit: 100_000, SpikeLimit: limit, Speed: speed}})
	w.sandbox.SkewClock(-37 * time.Minute) // its clock, not ours, is what its resets are of
	srv, err := broker.Start(t.TempDir())
	w.must(err)
	t.Cleanup(srv.Close)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	var made atomic.Int64
	var all sync.WaitGroup
	for range processes {
		s := w.session(w.sharing(srv), firstCompany)
		for range callers {
			all.Go(func() {
				obey(ctx, s, func() {
					if made.Add(1) == limit*windows {
						stop()
					}
				})
			})
		}
	}
	all.Wait()
	if made.Load() < limit*windows {
		t.Fatalf("%d of %d calls within %v", made.Load(), limit*windows, patience)
	}
	calls := w.sandbox.Calls()
	for _, c := range calls {
		if c.Status == http.StatusTooManyRequests {
			t.Errorf("at %v: 429", c.At)
		}
	}
	used := perWindow(calls, 10*time.Second/speed)
	t.Logf("calls in each window of %d: %v", limit, used)
	for _, n := range used[:len(used)-1] {
		if n < limit*8/10 {
			t.Errorf("a window was used for %d calls of %d", n, limit)
		}
	}
}

// Two companies of one client, in three processes: whichever way Procore counts them, it never answers 429, no company
// is behind the other, and each window is used that there is.
func TestCompaniesOfOneClientNeverMeetA429(t *testing.T) {
	t.Parallel()
	// A window of 2.5 s is waited for up to 2 s longer, as resets are in whole seconds.
	const processes, callers, limit, windows, speed = 3, 4, 25, 4, 4
	for name, apart := range map[string]bool{"counted by client": false, "counted by company": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{companies: 2, oneClient: true, noHooks: true, limits: sandbox.Config{HourlyLimit: 100_000, SpikeLimit: limit, Speed: speed, LimitsPerCompany: apart}})
			srv, err := broker.Start(t.TempDir())
			w.must(err)
			t.Cleanup(srv.Close)
			ctx, stop := context.WithTimeout(t.Context(), windows*5*time.Second)
			defer stop()
			var made [2]atomic.Int64
			var all sync.WaitGroup
			for range processes {
				client := w.sharing(srv)
				for i := range made {
					s := w.session(client, firstCompany+int64(i))
					for range callers {
						all.Go(func() { obey(ctx, s, func() { made[i].Add(1) }) })
					}
				}
			}
			all.Wait()
			for _, c := range w.sandbox.Calls() {
				if c.Status == http.StatusTooManyRequests {
					t.Errorf("at %v: 429", c.At)
				}
			}
			one, other := made[0].Load(), made[1].Load()
			least := int64(limit * windows * 8 / 10)
			if apart {
				least *= 2
			}
			if one+other < least || min(one, other)*10 < max(one, other)*6 {
				t.Errorf("the companies made %d and %d calls in %d windows of %d, want %d together and none far behind", one, other, windows, limit, least)
			}
		})
	}
}

// perWindow counts calls by window; one starts with the first call after the last one's end.
func perWindow(calls []sandbox.Call, size time.Duration) (used []int) {
	slices.SortFunc(calls, func(a, b sandbox.Call) int { return a.At.Compare(b.At) })
	var ends time.Time
	for _, c := range calls {
		if !c.At.Before(ends) {
			used, ends = append(used, 0), c.At.Add(size)
		}
		used[len(used)-1]++
	}
	return used
}
