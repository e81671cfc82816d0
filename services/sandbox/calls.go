package sandbox

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/procore/schema"
)

// Call is a call that the API received.
type Call struct {
	At        time.Time     `json:"at"`
	Took      time.Duration `json:"took"` // until the answer was ready
	Method    string        `json:"method"`
	Path      string        `json:"path"`
	Pattern   string        `json:"pattern"` // "PATCH /rest/v1.0/companies/{company_id}/external_data/sync"
	Query     string        `json:"query"`
	Body      rawText       `json:"body"`
	CompanyID int64         `json:"company_id"` // in the company header; 0: none
	Status    int           `json:"status"`     // 0: the connection was reset or timed out
}

// rawText is a string in JSON.
type rawText []byte

// MarshalText returns the text unchanged.
func (t rawText) MarshalText() ([]byte, error) { return t, nil }

// callLog counts calls and keeps the last ones in a ring buffer.
type callLog struct {
	keep     int
	total    atomic.Int64
	countMu  sync.Mutex
	counters map[string]*atomic.Int64

	mu   sync.Mutex
	ring []Call
	next int // index of the oldest call once the ring is full
}

func (l *callLog) counter(pattern string) *atomic.Int64 {
	l.countMu.Lock()
	defer l.countMu.Unlock()
	if l.counters == nil {
		l.counters = map[string]*atomic.Int64{}
	}
	l.counters[pattern] = new(atomic.Int64)
	return l.counters[pattern]
}

func (l *callLog) add(c *call, pattern string, began time.Time, status int) {
	l.total.Add(1)
	if l.keep <= 0 || pattern == tokenPattern { // the body of a token call has secrets
		return
	}
	entry := Call{
		At: began, Took: time.Since(began), Method: c.r.Method, Path: c.r.URL.Path, Pattern: pattern,
		Query: c.r.URL.RawQuery, Body: c.body, Status: status,
	}
	entry.CompanyID = parseDigits(c.r.Header.Get(companyHeader))
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < l.keep {
		l.ring = append(l.ring, entry)
		return
	}
	l.ring[l.next] = entry
	l.next = (l.next + 1) % l.keep
}

// Calls returns the last calls, in the order of their answers. Token calls are only counted.
func (sb *Sandbox) Calls() []Call {
	l := &sb.calls
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Call, 0, len(l.ring))
	return append(append(out, l.ring[l.next:]...), l.ring[:l.next]...)
}

// Writes returns the last calls with a method other than GET.
func (sb *Sandbox) Writes() []Call {
	var out []Call
	for _, c := range sb.Calls() {
		if c.Method != http.MethodGet {
			out = append(out, c)
		}
	}
	return out
}

// ForgetCalls empties the log and keeps the counters.
func (sb *Sandbox) ForgetCalls() {
	sb.calls.mu.Lock()
	defer sb.calls.mu.Unlock()
	sb.calls.ring, sb.calls.next = nil, 0
}

// Counts returns the number of calls so far by pattern, and by Unknown for unknown paths.
func (sb *Sandbox) Counts() map[string]int64 {
	sb.calls.countMu.Lock()
	defer sb.calls.countMu.Unlock()
	out := map[string]int64{}
	for pattern, n := range sb.calls.counters {
		if v := n.Load(); v > 0 {
			out[pattern] = v
		}
	}
	return out
}

// TotalCalls returns the number of all calls so far, token calls included.
func (sb *Sandbox) TotalCalls() int64 { return sb.calls.total.Load() }

// violationLog records how calls differ from the published operations.
type violationLog struct {
	mu  sync.Mutex
	all []string
}

func (l *violationLog) add(call string, bad []schema.Violation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range bad {
		if line := call + ": " + v.String(); len(l.all) < 1000 && !slices.Contains(l.all, line) {
			l.all = append(l.all, line)
		}
	}
}

// Violations returns the calls so far that differ from their published operation, and how, each once. All were refused.
func (sb *Sandbox) Violations() []string {
	sb.violations.mu.Lock()
	defer sb.violations.mu.Unlock()
	return slices.Clone(sb.violations.all)
}
