package sandbox

import (
	"fmt"
	"strconv"
	"sync"
	"time"
)

// queue is a hook's deliveries: those to make and the log of all.
//
//	ok ──▶ flowing ◀──────── 2xx ─────────┐
//	          │ any other answer, or none │
//	          ▼                           │
//	       paused: 1 s, 2 s, 4 s … 1 h ──▶ the head alone is tried again
//	          │ 12 h after the first failure
//	          ▼
//	       flushed: all that wait are discarded, and it flows again
type queue struct {
	mu      sync.Mutex
	waiting []*delivery
	entries []*entry // the delivery log, an entry an event
	wake    chan struct{}
	ended   chan struct{} // closed when the hook is deleted
	once    sync.Once

	paused  bool
	backoff time.Duration // in Procore's time
	failing time.Time     // since when; zero while it flows
}

// delivery is one POST to make; a duplicate shares its entry with the first.
type delivery struct {
	body  []byte
	entry *entry
}

// entry is a line of the delivery log, as the API shows it.
type entry struct {
	EventID        int64          `json:"event_id"`
	Event          map[string]any `json:"event"`
	Outcome        string         `json:"outcome"` // ok, discarded, retried, failed; "" until the first attempt
	ResponseStatus int            `json:"response_status"`
	ResponseError  string         `json:"response_error"`
	ResponseBody   string         `json:"response_body"`
	StartedAt      string         `json:"started_at"`
	CompletedAt    string         `json:"completed_at"`

	attempts int
}

func (q *queue) init() {
	q.wake, q.ended = make(chan struct{}, 1), make(chan struct{})
}

func (q *queue) stop() { q.once.Do(func() { close(q.ended) }) }

// announced puts an event into the delivery log.
func (q *queue) announced(e *entry) {
	q.mu.Lock()
	q.entries = append(q.entries, e)
	q.mu.Unlock()
}

func (q *queue) push(d *delivery) {
	q.mu.Lock()
	q.waiting = append(q.waiting, d)
	q.mu.Unlock()
	q.nudge()
}

// pushLate lets what is pushed within by overtake d.
func (q *queue) pushLate(d *delivery, by time.Duration) {
	if by <= 0 {
		q.push(d)
		return
	}
	time.AfterFunc(by, func() { q.push(d) })
}

func (q *queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next takes the head, and says how long to wait before it is tried.
func (q *queue) next() (d *delivery, wait time.Duration, probe bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, 0, false
	}
	d = q.waiting[0]
	q.waiting = q.waiting[1:]
	return d, q.backoff, q.paused
}

// Procore's times; Speed divides them.
const (
	firstBackoff = time.Second
	lastBackoff  = time.Hour
	flushAfter   = 12 * time.Hour
)

// succeeded notes a 2xx; of the head alone it ends the pause.
func (q *queue) succeeded(d *delivery, probe bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.entry.Outcome = "ok"
	if probe {
		q.paused, q.backoff, q.failing = false, 0, time.Time{}
	}
}

// failed puts a delivery back at the head and pauses the queue, or flushes it. Failures of
// deliveries that were in flight when the pause began don't lengthen it.
func (q *queue) failed(d *delivery, probe bool, flush time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d.entry.Outcome != "ok" {
		d.entry.Outcome = "retried"
	}
	q.waiting = append([]*delivery{d}, q.waiting...)
	switch {
	case !q.paused:
		q.paused, q.backoff, q.failing = true, firstBackoff, time.Now()
	case probe:
		q.backoff = min(2*q.backoff, lastBackoff)
	}
	if time.Since(q.failing) >= flush {
		q.flush()
	}
}

func (q *queue) flush() {
	for _, d := range q.waiting {
		if d.entry.Outcome != "ok" {
			d.entry.Outcome = "discarded"
		}
	}
	q.waiting, q.paused, q.backoff, q.failing = nil, false, 0, time.Time{}
}

// log pages through the entries of a status.
func (q *queue) log(status, start string, size int) []entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := []entry{}
	for _, e := range q.entries[q.after(status, start):] {
		if len(out) < size && e.is(status) {
			out = append(out, *e)
		}
	}
	return out
}

// after is the index behind the entry that a page_start names, or behind so many of the status.
// A page_start that is neither names the list's start.
func (q *queue) after(status, start string) int {
	if start == "" {
		return 0
	}
	counted, err := strconv.Atoi(start)
	for i, e := range q.entries {
		switch {
		case fmt.Sprint(e.EventID) == start:
			return i + 1
		case err == nil && counted == 0:
			return i
		case e.is(status):
			counted--
		}
	}
	if err == nil {
		return len(q.entries)
	}
	return 0
}

func (e *entry) is(status string) bool {
	switch status {
	case "successful":
		return e.Outcome == "ok"
	case "discarded":
		return e.Outcome == "discarded"
	case "failing":
		return e.Outcome == "retried" || e.Outcome == "failed"
	}
	return e.Outcome != ""
}
