package procore

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// Quota is what Procore last said of whichever rate-limit window is nearer its end.
type Quota struct {
	Limit     int
	Remaining int // less the calls under way
	Reset     time.Time
}

// meter spends the quota that the answers' headers report. No call is made while the window is spent.
type meter struct {
	mu      sync.Mutex
	known   bool
	quota   Quota
	pending int       // calls under way, of which the last header knew nothing
	blocked time.Time // by a 429 or 503
	now     func() time.Time
}

// take claims one call, or says how long to wait.
func (m *meter) take() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if wait := m.blocked.Sub(now); wait > 0 {
		return fault.Wait(wait, errSpent)
	}
	if m.known && !now.Before(m.quota.Reset) {
		m.known = false // a new window: its first answer will tell
	}
	if m.known && m.quota.Remaining-m.pending <= 0 {
		return fault.Wait(m.quota.Reset.Sub(now), errSpent)
	}
	m.pending++
	return nil
}

// learn ends a call with the answer's headers; h is nil where there was no answer.
func (m *meter) learn(h http.Header) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending--
	limit, err1 := strconv.Atoi(h.Get("X-Rate-Limit-Limit"))
	remaining, err2 := strconv.Atoi(h.Get("X-Rate-Limit-Remaining"))
	reset, err3 := strconv.ParseInt(h.Get("X-Rate-Limit-Reset"), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return
	}
	q := Quota{Limit: limit, Remaining: remaining, Reset: time.Unix(reset, 0)}
	// Answers overtake each other: in one window the lowest count is the latest.
	if m.known && q.Limit == m.quota.Limit && q.Reset.Equal(m.quota.Reset) {
		q.Remaining = min(q.Remaining, m.quota.Remaining)
	}
	m.quota, m.known = q, true
}

// block stops all calls for a while and returns that while.
func (m *meter) block(h http.Header) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	wait := time.Second
	if s, err := strconv.Atoi(h.Get("Retry-After")); err == nil {
		wait = time.Duration(s) * time.Second
	} else if m.known && m.quota.Remaining <= 0 {
		wait = m.quota.Reset.Sub(now)
	}
	wait = min(max(wait, 100*time.Millisecond), time.Hour+time.Minute)
	if until := now.Add(wait); until.After(m.blocked) {
		m.blocked = until
	}
	return wait
}

// left is the quota as far as it is known.
func (m *meter) left() (Quota, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.quota
	q.Remaining -= m.pending
	return q, m.known && m.now().Before(q.Reset)
}
