package procore

import (
	"context"
	crand "crypto/rand"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// Quota is the window of the rate limit that binds: the one with fewer calls left for its time.
type Quota struct {
	Limit     int
	Remaining int       // less the calls under way
	Reset     time.Time // by our clock
}

var (
	errSpent  = errors.New("no call now: Procore's rate limit is used up, or answers under way will tell")
	errSilent = errors.New("no call now: what other processes have used of Procore's rate limit is not known")
)

// meter spends one client's quota. No call is made while a window is spent, or while it is
// not known whether one is. All methods may be called concurrently; none waits for the quota.
type meter struct {
	clock   theirs
	timeout time.Duration                     // of a call, with reading its answer
	key, me string                            // in the store: the company, this process
	store   Store                             // nil: nobody shares the client
	spread  func(time.Duration) time.Duration // jitter

	mu     sync.Mutex
	limits limits // as this process last saw them
	calls  int    // under way in this process
	shared shared
}

func newMeter(key string, timeout time.Duration) *meter {
	return &meter{clock: theirs{local: time.Now}, timeout: timeout, key: key, me: crand.Text(), spread: jitter}
}

// move is what a call asks of its meter: to begin, or (end not nil) to end.
type move struct {
	bulk bool
	end  *end
	// The answer:
	ticket ticket
	wait   int64 // ms; 0: go
	err    error // the store could not be asked
	done   chan bool
}

type bulkKey struct{}

// Bulk returns a context whose calls are bulk work's: they leave the last fifth of a rate
// limit, and at least one call, to those that somebody waits for.
func Bulk(ctx context.Context) context.Context { return context.WithValue(ctx, bulkKey{}, true) }

// take claims one call, or says how long to wait. Each claim is ended with end.
func (m *meter) take(ctx context.Context) (ticket, error) {
	mv := &move{bulk: ctx.Value(bulkKey{}) != nil}
	m.play(mv)
	switch {
	case mv.err != nil:
		return ticket{}, fault.Wait(m.spread(time.Second), errSilent)
	case mv.wait > 0:
		return ticket{}, fault.Wait(m.spread(time.Duration(mv.wait)*time.Millisecond), errSpent)
	}
	return mv.ticket, nil
}

// learn ends a call that was sent at a local time and answered with a status and headers. After a
// 429 or 503 it says how long to wait.
func (m *meter) learn(t ticket, sent time.Time, status int, h http.Header) time.Duration {
	m.clock.hear(h, sent)
	now := m.clock.now()
	e := &end{ticket: t, good: status >= 200 && status < 300, retry: -1}
	e.refused = status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
	e.told, e.heard = rates(h, now)
	if after, ok := retryAfter(h, now); ok {
		e.retry = after
	}
	m.play(&move{end: e})
	if !e.refused {
		return 0
	}
	m.mu.Lock()
	wait := max(m.limits.Blocked-now, e.retry)
	m.mu.Unlock()
	return m.spread(time.Duration(min(max(wait, 100), farthest)) * time.Millisecond)
}

// fail ends a call that got no answer; how says whether it was sent at all.
func (m *meter) fail(t ticket, how outcome) { m.play(&move{end: &end{ticket: t, how: how}}) }

// play lets moves be made, here or, where the client is shared, in the store.
func (m *meter) play(mv *move) {
	if m.store != nil {
		m.share(mv)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls, _, _ = m.apply(&m.limits, []*move{mv})
}

// apply makes moves on l: first what ended, then, with what that taught, what wants to begin.
// It gives how many calls this process then has under way, whether l is to be kept, and whether
// a move was refused. It may be asked again with the same moves and another l.
func (m *meter) apply(l *limits, moves []*move) (calls int, changed, refused bool) {
	now := m.clock.now()
	l.tidy(now, m.me)
	calls = m.calls
	until := now + m.timeout.Milliseconds() + 5000
	for _, mv := range moves {
		if mv.end != nil {
			l.end(*mv.end, now)
			calls, changed = calls-1, true
		}
	}
	l.claim(m.me, calls, until)
	for _, mv := range moves {
		if mv.end != nil {
			continue
		}
		if mv.wait = l.wait(now, mv.bulk); mv.wait > 0 {
			refused = true
			continue
		}
		mv.ticket = l.ticket(now)
		calls, changed = calls+1, true
		l.claim(m.me, calls, until)
	}
	return calls, changed, refused
}

// windows gives those that are known to run, by name.
func (m *meter) windows() map[string]Quota {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, here := m.clock.now(), m.clock.local()
	m.limits.tidy(now, m.me)
	running := map[string]Quota{}
	for name, w := range map[string]window{"hour": m.limits.Hour, "spike": m.limits.Spike} {
		if w.Ends > 0 {
			reset := here.Add(time.Duration(w.Ends-now) * time.Millisecond)
			running[name] = Quota{Limit: w.Limit, Remaining: max(0, w.Left-m.limits.under()), Reset: reset}
		}
	}
	return running
}

// left is the window that binds; false: none is known to run.
func (m *meter) left() (binding Quota, known bool) {
	for _, q := range m.windows() {
		if !known || q.scarcer(binding, m.clock.local()) {
			binding, known = q, true
		}
	}
	return binding, known
}

// scarcer says whether q has fewer calls left for its time than other.
func (q Quota) scarcer(other Quota, now time.Time) bool {
	perCall := func(q Quota) float64 { return float64(q.Reset.Sub(now)) / max(float64(q.Remaining), 0.001) }
	return perCall(q) > perCall(other)
}

// jitter adds up to a tenth, and no less than up to 100 ms nor more than up to 10 s, so that
// those who wait for the same moment do not come back in one instant.
func jitter(d time.Duration) time.Duration {
	return d + rand.N(min(max(d/10, 100*time.Millisecond), 10*time.Second))
}
