package sandbox

import (
	"fmt"
	"strconv"
	"sync"
	"time"
)

// queue has the waiting deliveries of a hook and the log of all.
//
//	active ◀────────── 2xx ────────┐
//	   │ any other answer, or none │
//	   ▼                           │
//	paused: 1 s, 2 s, 4 s … 1 h ──▶ only the first delivery is retried
//	   │ 12 h after the first failure
//	   ▼
//	flushed: all waiting deliveries are discarded, and the queue is active again
type queue struct {
	mu      sync.Mutex
	waiting []*delivery
	entries []*entry // the delivery log, one entry per event
	wake    chan struct{}
	ended   chan struct{} // closed when the hook is deleted
	once    sync.Once

	paused  bool
	backoff time.Duration // in Procore's time
	failing time.Time     // the first failure; zero while active
}

// delivery is a POST to make. A duplicate has the entry of the original.
type delivery struct {
	body  []byte
	entry *entry
}

// entry is an entry of the delivery log, as the API returns it.
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

// logEvent adds an event to the delivery log.
func (q *queue) logEvent(e *entry) {
	q.mu.Lock()
	q.entries = append(q.entries, e)
	q.mu.Unlock()
}

func (q *queue) push(d *delivery) {
	q.mu.Lock()
	q.waiting = append(q.waiting, d)
	q.mu.Unlock()
	q.signal()
}

// pushAfter pushes d after a delay.
func (q *queue) pushAfter(d *delivery, by time.Duration) {
	if by <= 0 {
		q.push(d)
		return
	}
	time.AfterFunc(by, func() { q.push(d) })
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next removes the first delivery and returns how long to wait before it is made. probe reports that the queue is
// paused. d is nil if the queue is empty.
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

// Config.Speed divides these times.
const (
	firstBackoff = time.Second
	lastBackoff  = time.Hour
	flushAfter   = 12 * time.Hour
)

// succeeded records a 2xx answer. That of a probe ends the pause.
func (q *queue) succeeded(d *delivery, probe bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.entry.Outcome = "ok"
	if probe {
		q.paused, q.backoff, q.failing = false, 0, time.Time{}
	}
}

// failed puts a delivery back at the front and pauses the queue, or flushes it. Failures of deliveries that were in
// flight when the pause began do not extend it.
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

// log returns a page of the entries with a status.
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

// after returns the index after the entry whose id is start, or after the first n entries of the status if start is a
// small number n. For any other start it returns 0.
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
