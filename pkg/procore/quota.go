package procore

import (
	"context"
	crand "crypto/rand"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/fault"
)

// Quota is the window of the rate limit that leaves fewer calls for its remaining time. If companies share it, Remaining is the
// company's share.
type Quota struct {
	Limit     int
	Remaining int       // without the calls in flight
	Reset     time.Time // by our clock
}

var (
	errNoQuota          = errors.New("no call now: Procore's rate limit is used up, or it is not known until running calls are answered")
	errStoreUnavailable = errors.New("no call now: it is not known how much of Procore's rate limit other processes have used")
)

// limiter admits the calls of one client, for all its companies. No call is made while a window is used up, or while it is
// not known whether one is. All methods may be called concurrently; none waits for the quota.
type limiter struct {
	clock         procoreClock
	timeout       time.Duration                     // of a call, including reading its answer
	key, me       string                            // in the store: see StoreKey; this process
	multiCompany  bool                              // several companies may use the client
	store         Store                             // nil: no other process uses the client
	spread        func(time.Duration) time.Duration // jitter
	secret        func() string                     // of the client; it seals the values in the store
	log           *zap.Logger
	foreignValues atomic.Int64 // values in the store that were not sealed
	warned        time.Time    // when a foreign value was last logged

	mu      sync.Mutex
	budget  budget        // as this process last saw it
	calls   map[int64]int // in flight in this process, by company
	sharing sharing
}

func newLimiter(key string, several bool, timeout time.Duration, secret func() string) *limiter {
	return &limiter{
		clock: procoreClock{local: time.Now}, timeout: timeout, key: key, multiCompany: several, me: crand.Text(), spread: jitter,
		secret: secret, log: zap.NewNop(),
	}
}

// op is an operation on a limiter: it reserves a call, or (end not nil) ends one.
type op struct {
	company int64
	bulk    bool
	end     *end
	// The result:
	reservation reservation
	wait        int64 // ms; 0: go
	err         error // the store did not answer
	done        chan bool
}

type bulkKey struct{}

// Bulk returns a context for bulk work: its calls leave the last fifth of a rate limit, at least one call, to calls that a user
// waits for.
func Bulk(ctx context.Context) context.Context { return context.WithValue(ctx, bulkKey{}, true) }

// reserve reserves one call of a company. It returns a throttled error if none may be made now. The caller ends each
// reservation with recordAnswer or recordFailure.
func (m *limiter) reserve(ctx context.Context, company int64) (reservation, error) {
	mv := &op{company: company, bulk: ctx.Value(bulkKey{}) != nil}
	m.run(mv)
	switch {
	case mv.err != nil:
		return reservation{}, fault.Wait(m.spread(time.Second), errStoreUnavailable)
	case mv.wait > 0:
		return reservation{}, fault.Wait(m.spread(time.Duration(mv.wait)*time.Millisecond), errNoQuota)
	}
	return mv.reservation, nil
}

// recordAnswer ends a call that was sent at a local time and answered with a status and headers. After a 429 or 503 it
// returns how long to wait; otherwise 0.
func (m *limiter) recordAnswer(t reservation, sent time.Time, status int, h http.Header) time.Duration {
	m.clock.update(h, sent)
	now := m.clock.now()
	e := &end{reservation: t, good: status >= 200 && status < 300, retry: -1}
	e.refused = status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
	e.headers, e.parsed = rates(h, now)
	if after, ok := retryAfter(h, now); ok {
		e.retry = after
	}
	m.run(&op{end: e})
	if !e.refused {
		return 0
	}
	m.mu.Lock()
	l, _ := m.budget.of(t.company)
	wait := max(l.Blocked-now, e.retry)
	m.mu.Unlock()
	return m.spread(time.Duration(min(max(wait, 100), longestWait)) * time.Millisecond)
}

// recordFailure ends a call without an answer; how is lost or unsent.
func (m *limiter) recordFailure(t reservation, how outcome) {
	m.run(&op{end: &end{reservation: t, how: how}})
}

// run executes an operation, in the store if the client is shared.
func (m *limiter) run(mv *op) {
	if m.store != nil {
		m.runShared(mv)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls, _, _ = m.apply(&m.budget, []*op{mv}, false)
}

// apply applies operations to b: first those that end calls, then those that reserve one. It returns how many calls this
// process then has in flight, whether b has changed, and whether a reservation was refused. It may be called again with the
// same operations and another b. If alone, the calls of other processes are not known.
func (m *limiter) apply(b *budget, moves []*op, alone bool) (calls map[int64]int, changed, refused bool) {
	now := m.clock.now()
	b.tidy(now, m.me)
	calls = make(map[int64]int, len(m.calls)+1)
	maps.Copy(calls, m.calls)
	until := now + m.timeout.Milliseconds() + 5000
	for _, mv := range moves {
		if mv.end != nil {
			b.end(*mv.end, now)
			calls[mv.end.reservation.company]--
			changed = true
		}
	}
	b.claim(m.me, calls, until)
	for _, mv := range moves {
		if mv.end != nil {
			continue
		}
		if m.multiCompany {
			b.ensurePart(mv.company, now)
		}
		var missed bool
		mv.wait, missed = b.wait(mv.company, now, mv.bulk)
		if alone && anyInFlight(calls) {
			mv.wait = max(mv.wait, answerWait)
		}
		if mv.wait > 0 {
			refused, changed = true, changed || missed
			continue
		}
		mv.reservation = b.reserve(mv.company, now)
		calls[mv.company]++
		changed = true
		b.claim(m.me, calls, until)
	}
	maps.DeleteFunc(calls, func(_ int64, n int) bool { return n <= 0 })
	return calls, changed, refused
}

func anyInFlight(calls map[int64]int) bool {
	for _, n := range calls {
		if n > 0 {
			return true
		}
	}
	return false
}

// windows returns the running windows of a company by name, and among how many companies they are shared.
func (m *limiter) windows(company int64) (running map[string]Quota, among int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, here := m.clock.now(), m.clock.local()
	m.budget.tidy(now, m.me)
	l, among := m.budget.of(company)
	running = map[string]Quota{}
	for name, w := range map[string]window{"hour": l.Hour, "spike": l.Spike} {
		if w.Ends > 0 {
			reset := here.Add(time.Duration(w.Ends-now) * time.Millisecond)
			running[name] = Quota{Limit: w.Limit, Remaining: max(0, w.Left-l.inFlight()), Reset: reset}
		}
	}
	return running, among
}

// left returns the window that leaves a company fewer calls, with its share of them; false: no running window is known.
func (m *limiter) left(company int64) (binding Quota, known bool) {
	running, among := m.windows(company)
	for _, q := range running {
		q.Remaining /= among
		if !known || q.scarcer(binding, m.clock.local()) {
			binding, known = q, true
		}
	}
	return binding, known
}

// scarcer reports whether q has fewer calls left for its time than other.
func (q Quota) scarcer(other Quota, now time.Time) bool {
	perCall := func(q Quota) float64 { return float64(q.Reset.Sub(now)) / max(float64(q.Remaining), 0.001) }
	return perCall(q) > perCall(other)
}

// jitter adds a random tenth of d at most (of at least 100 ms and at most 10 s), so that calls that wait for the same moment
// are not all made at once.
func jitter(d time.Duration) time.Duration {
	return d + rand.N(min(max(d/10, 100*time.Millisecond), 10*time.Second))
}
