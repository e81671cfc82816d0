package procore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/trouble"
)

var (
	errNoQuota = errors.New("no call now: Procore's rate limit is used up")
	// errNoAnswersYet is no trouble of Procore: it lasts until running calls are answered.
	errNoAnswersYet = fmt.Errorf("no call now: what is left of Procore's rate limit is known when running calls are answered: %w", trouble.ErrNotMade)
)

// limiter admits the calls of one client, for all its companies. Its methods may be called concurrently; none waits.
//
// The headers of the answers are the only state that processes share. A call is made if both windows have room for it, after
// what is left to others:
//
//	  calls that were left at the last answer
//	- calls of this process that are in flight
//	- calls that other processes are expected to make before the window ends, see window.room
//	- calls that are left to other companies of the client, see window.owed, or to calls that a user waits for, see Bulk
//
// The calls of other processes are those that the headers count and this process did not make. A process alone uses a window
// up to its last call. If an estimate is wrong, Procore answers 429, and no call is made until the time that it names.
//
// Procore does not publish whether it counts by client or by company. All calls count together, until an answer leaves more calls
// than was possible if they did. From then on each company has its own limits, until no answer has shown that for some time.
type limiter struct {
	now     func() time.Time
	spread  func(time.Duration) time.Duration // adds jitter
	changed func()                            // called after each answer, without the lock; nil: nothing to call

	mu        sync.Mutex
	client    *limits
	companies map[int64]*limits // as their own answers show them; nil: the client is one company's own
	apart     bool              // each company has its own limits
	evidence  time.Time         // when an answer last showed that
	answers   int               // that showed a window
}

// newLimiter returns the limiter of a client that several companies may share.
func newLimiter(several bool) *limiter {
	m := &limiter{now: time.Now, spread: jitter, client: newLimits()}
	if several {
		m.companies = map[int64]*limits{}
	}
	return m
}

// reservation is a reserved call until it ends.
type reservation struct {
	company int64
	at      time.Time
	answers int // limiter.answers at that time
}

type bulkKey struct{}

// Bulk returns a context for bulk work: its calls leave the last fifth of a rate limit, at least one call, to calls that a user
// waits for.
func Bulk(ctx context.Context) context.Context { return context.WithValue(ctx, bulkKey{}, true) }

// reserve reserves one call of a company. It returns a throttled error if none may be made now. The caller ends each
// reservation with recordAnswer or recordFailure.
func (m *limiter) reserve(ctx context.Context, company int64) (reservation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	l := m.binding(company, now)
	a := asking{bulk: ctx.Value(bulkKey{}) != nil}
	if m.companies != nil && l == m.client {
		a.company = company
	}
	if wait := l.wait(now, a); wait > 0 {
		why := errNoQuota
		if wait <= answerWait {
			why = errNoAnswersYet
		}
		return reservation{}, fault.Wait(m.spread(wait), why)
	}
	for _, l := range m.counting(company) {
		l.inFlight++
		l.hour.own++
		l.spike.own++
	}
	if m.companies != nil {
		m.client.hour.turn(company).used++
		m.client.spike.turn(company).used++
	}
	return reservation{company, now, m.answers}, nil
}

// counting returns all limits that count a company's calls.
func (m *limiter) counting(company int64) []*limits {
	if m.companies == nil {
		return []*limits{m.client}
	}
	if m.companies[company] == nil {
		m.companies[company] = newLimits()
	}
	return []*limits{m.client, m.companies[company]}
}

// binding returns the limits that bind a company, after it ended the windows that are over.
func (m *limiter) binding(company int64, now time.Time) *limits {
	all := m.counting(company)
	for _, l := range all {
		l.hour.roll(now)
		l.spike.roll(now)
	}
	if m.apart {
		return all[len(all)-1]
	}
	return m.client
}

// recordAnswer ends a call that was answered. After a 429 or 503 it returns how long to wait; otherwise 0.
func (m *limiter) recordAnswer(r reservation, status int, header http.Header) (wait time.Duration) {
	if m.changed != nil {
		defer m.changed()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.binding(r.company, now)
	h := parseRates(header, now)
	for id, l := range m.companies {
		switch w := l.window(h); {
		case w == nil || !w.comparable(h, r, now):
		case h.left >= w.shown-(r.answers-w.answer)+minEvidence: // Procore counted fewer than all calls between the two answers
			m.apart, m.evidence = true, now
		case id != r.company && now.Sub(m.evidence) > apartFor:
			m.apart = false
		}
	}
	if h.limit > 0 {
		m.answers++
	}
	for _, l := range m.counting(r.company) {
		l.inFlight--
		l.update(h, r, m.answers, status, now)
	}
	if !isRefusal(status) {
		return 0
	}
	return m.spread(m.binding(r.company, now).blocked.Sub(now))
}

// recordFailure ends a call without an answer. If Procore counted it, the next answer shows that.
func (m *limiter) recordFailure(r reservation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.counting(r.company) {
		l.inFlight--
	}
}

func isRefusal(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

const (
	spikeSize   = 10 * time.Second
	longestWait = time.Hour + time.Minute
	// answerWait is how long to wait for answers of calls in flight.
	answerWait = 200 * time.Millisecond
	// endSlack is how late the estimate of a window's end may be; see parseRates.
	endSlack = 3 * time.Second
	// minEvidence is by how many calls answers must differ before companies count apart: Procore's counters may be inexact.
	minEvidence = 3
	// apartFor is for how long companies count apart after the last answer that shows it, while two companies call.
	apartFor = 5 * time.Minute
)

// limits are the two windows in which Procore counts the calls of a client, or of one of its companies.
type limits struct {
	hour, spike window
	inFlight    int
	answers     int       // that showed a window, or were successful without one
	blocked     time.Time // until then, by a 429 or 503
	refusals    int       // blocks in a row by answers without a time
	refused     time.Time // when the last of them began
}

func newLimits() *limits {
	return &limits{hour: window{size: time.Hour}, spike: window{size: spikeSize}}
}

// asking describes the call that a window is asked to admit.
type asking struct {
	company int64 // if companies share the limits; otherwise 0
	bulk    bool
}

// wait returns how long no call may be made; 0: one may be made now.
func (l *limits) wait(now time.Time, a asking) time.Duration {
	switch {
	case now.Before(l.blocked):
		return l.blocked.Sub(now)
	case l.inFlight > l.answers: // a process that starts does not yet know how many others there are
		return answerWait
	}
	return max(l.hour.wait(now, l.inFlight, a), l.spike.wait(now, l.inFlight, a))
}

// window returns the window that an answer shows, recognized by the time to its end and by its limit; nil: none.
func (l *limits) window(h rates) *window {
	switch {
	case h.limit == 0:
		return nil
	case h.away > spikeSize+endSlack, h.limit == l.hour.limit && h.limit != l.spike.limit,
		h.limit == l.hour.limit && l.hour.endsAt(h.reset) && !l.spike.endsAt(h.reset):
		return &l.hour
	}
	return &l.spike
}

// update records an answer, which is the limiter's answer of that number.
func (l *limits) update(h rates, r reservation, answer, status int, now time.Time) {
	shown, counted := l.window(h), 1
	if shown != nil {
		counted = shown.update(h, r, answer, now, l.inFlight+1)
	}
	if shown != &l.hour {
		l.hour.count(counted, now)
	}
	if shown != &l.spike {
		l.spike.count(1, now)
	}
	if shown != nil || status < 300 {
		l.answers++
	}
	if !isRefusal(status) {
		l.refusals = 0
		return
	}
	if status == http.StatusTooManyRequests { // Procore did not count it
		l.hour.own--
		l.spike.own--
	}
	var wait time.Duration
	switch {
	case h.retryAfter >= 0:
		wait = h.retryAfter
	case shown != nil && h.left == 0:
		wait = h.ends.Sub(now)
	default: // 1, 2, 4 … 64 s; refusals of calls that were sent together count once
		if r.at.After(l.refused) {
			l.refusals, l.refused = min(l.refusals+1, 7), now
		}
		wait = 500 * time.Millisecond << l.refusals
	}
	if until := now.Add(min(max(wait, answerWait/2), longestWait)); until.After(l.blocked) {
		l.blocked = until
	}
}

// jitter adds a random tenth of d at most (of at least 100 ms and at most 10 s), so that calls that wait for the same moment
// are not all made at once.
func jitter(d time.Duration) time.Duration {
	return d + rand.N(min(max(d/10, 100*time.Millisecond), 10*time.Second))
}
