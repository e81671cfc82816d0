// Package scheduler decides which company's message a consumer starts next. It uses neither a broker nor a clock.
package scheduler

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Scheduler queues more messages of type T than may run, in one queue for each company (tenant), so that a backlog of one
// company does not delay the messages of the others:
//
//	order         round robin: each company with queued messages starts one in turn
//	concurrency   limited by the free handlers: n busy companies may each use 1/(n+1) of the handlers (a single
//	              company: half), so that some are always free for the next company
//	throttled     the company starts nothing until the wait is over, and half as many at once afterwards;
//	              each success raises that limit by one
//	paused        by an operator: the company starts nothing; see Pause
//	failing       eight failures in a row pause the company for 0.2, 0.4 … 5 s, so that a system that is
//	              down is called only now and then
//	queued        as much as fits in Limits; once the company's throughput is known, at most what it completes in
//	              two seconds, or minShare if that is more; always at least one message
//	surplus       released to the broker, for redelivery about when its turn comes, or earlier: see minRedeliveryRate
//
// Its methods must not be called concurrently.
type Scheduler[T any] struct {
	limits  Limits
	running int
	queued  int
	bytes   int                       // of the queued messages
	tenants map[int64]*tenantQueue[T] // by company
	ready   []*tenantQueue[T]         // the queues that are not empty; the first has waited longest for its turn
}

// Limits are the limits of a Scheduler.
type Limits struct {
	Running int // messages running at once
	Queued  int // messages queued in addition to the running ones
	Bytes   int // size of the queued messages
}

// New returns a Scheduler without messages.
func New[T any](limits Limits) *Scheduler[T] {
	return &Scheduler[T]{limits: limits, tenants: map[int64]*tenantQueue[T]{}}
}

// message is a queued message.
type message[T any] struct {
	value T
	size  int
}

// tenantQueue is the queue of one company.
type tenantQueue[T any] struct {
	company        int64
	messages       []message[T]
	bytes          int // of messages
	running        int
	limit          int       // of running, after a throttle; 0: none
	pausedUntil    time.Time // no message starts before this time
	failures       int       // in a row
	lastFailed     uint64    // sequence of the last failure
	pauses         int       // in a row, since the last success
	completed      int       // since measuredSince
	measuredSince  time.Time
	rate           float64   // messages per second; 0: not known
	lastRedelivery time.Time // when the last released message is redelivered
}

const (
	// minShare is how many messages a slow company may queue, if there is room.
	minShare = 256
	// initialRate is the assumed throughput of a company before it is measured, in messages per second.
	initialRate = 1000
	// minPull is the least number of messages to pull while a handler is free.
	minPull = 64
	// minRedeliveryRate is the least rate of redelivery, in messages per second, of all companies with queued messages
	// together, however slow they are: when a hanging system recovers, its released messages must come back soon.
	minRedeliveryRate = 100
	// minRedeliveryDelay and maxRedeliveryDelay bound the delay of a redelivery.
	minRedeliveryDelay = time.Second
	maxRedeliveryDelay = 2 * time.Minute
	// failuresToPause failures in a row pause a company, first for minPause, at most for maxPause.
	failuresToPause = 8
	minPause        = 200 * time.Millisecond
	maxPause        = 5 * time.Second
)

// Result is how an attempt at a message ended. The zero value counts as a success of the company.
type Result struct {
	Throttled bool          // the company must wait
	Wait      time.Duration // if Throttled
	Failed    bool          // the attempt failed, and the message will be retried
}

// Add queues a message of size bytes. If there is no room it returns false, and the delay after which the message should
// be redelivered.
func (s *Scheduler[T]) Add(company int64, value T, size int, now time.Time) (delay time.Duration, queued bool) {
	q := s.tenants[company]
	if q == nil {
		q = &tenantQueue[T]{company: company}
		s.tenants[company] = q
	}
	switch {
	case len(q.messages) == 0:
		q.resetRate(now)
		s.ready = append(s.ready, q)
	case len(q.messages) >= s.share(q, now) || q.bytes+size > s.limits.Bytes-s.bytes:
		return q.redeliverAfter(now, len(s.ready)), false
	}
	q.messages = append(q.messages, message[T]{value, size})
	q.bytes, s.bytes, s.queued = q.bytes+size, s.bytes+size, s.queued+1
	return 0, true
}

// share is how many messages a company may queue.
func (s *Scheduler[T]) share(q *tenantQueue[T], now time.Time) int {
	free := s.limits.Queued - s.queued
	if rate, known := q.throughput(now); known {
		return min(free, max(minShare, int(2*rate)))
	}
	return free
}

// pauseCheck is how long Pause pauses a company.
const pauseCheck = time.Second

// Pause pauses, for a second, each company with queued messages for which paused returns true. Call it before each series
// of calls of Next. A nil paused pauses none.
func (s *Scheduler[T]) Pause(paused func(company int64) bool, now time.Time) {
	if paused == nil {
		return
	}
	for _, q := range s.ready {
		if !now.Before(q.pausedUntil) && paused(q.company) {
			q.pausedUntil = now.Add(pauseCheck)
		}
	}
}

// Next returns the next message to start, or false if no company may start one. The caller calls Finish when the attempt
// has ended.
func (s *Scheduler[T]) Next(now time.Time) (value T, ok bool) {
	i := slices.IndexFunc(s.ready, func(q *tenantQueue[T]) bool { return s.mayStart(q, now) })
	if i < 0 {
		return value, false
	}
	q := s.ready[i]
	m := q.messages[0]
	q.messages[0], q.messages = message[T]{}, q.messages[1:]
	q.bytes, s.bytes, s.queued = q.bytes-m.size, s.bytes-m.size, s.queued-1
	q.running, s.running = q.running+1, s.running+1
	s.ready = slices.Delete(s.ready, i, i+1)
	if len(q.messages) > 0 {
		s.ready = append(s.ready, q)
	}
	return m.value, true
}

func (s *Scheduler[T]) mayStart(q *tenantQueue[T], now time.Time) bool {
	free := s.limits.Running - s.running
	return free > 0 && (q.running == 0 || q.running < free) && (q.limit == 0 || q.running < q.limit) && !now.Before(q.pausedUntil)
}

// Finish records the result of a message that Next returned. company is the message's company; sequence identifies the message.
func (s *Scheduler[T]) Finish(company int64, sequence uint64, r Result, now time.Time) {
	q := s.tenants[company]
	switch {
	case r.Throttled:
		q.throttle(r.Wait, now)
	case r.Failed:
		q.fail(sequence, now)
	default:
		q.succeed(s.limits.Running, now)
	}
	q.running, s.running = q.running-1, s.running-1
}

// fail pauses the company after failuresToPause failures in a row. Repeated failures of one message count once. Failures
// during a pause do not count: their messages were running when the pause began.
func (q *tenantQueue[T]) fail(sequence uint64, now time.Time) {
	if sequence == q.lastFailed || now.Before(q.pausedUntil) {
		return
	}
	q.lastFailed = sequence
	if q.failures++; q.failures >= failuresToPause {
		q.throttle(min(minPause<<min(q.pauses, 10), maxPause), now)
		q.pauses++
	}
}

// throttle pauses the company for wait. Only the first throttle halves its limit: the messages that run at the same time
// are throttled too, for the same reason.
func (q *tenantQueue[T]) throttle(wait time.Duration, now time.Time) {
	if !now.Before(q.pausedUntil) {
		q.limit = max(1, q.running/2)
	}
	if until := now.Add(wait); until.After(q.pausedUntil) {
		q.pausedUntil = until
	}
	q.resetRate(q.pausedUntil)
}

func (q *tenantQueue[T]) succeed(concurrency int, now time.Time) {
	q.failures, q.lastFailed, q.pauses = 0, 0, 0
	if q.limit > 0 {
		if q.limit++; q.limit >= concurrency {
			q.limit = 0
		}
	}
	if len(q.messages) == 0 {
		q.resetRate(now)
		return
	}
	q.completed++
	if took := now.Sub(q.measuredSince); took >= time.Second {
		q.rate = float64(q.completed) / took.Seconds()
		q.completed, q.measuredSince = 0, now
	}
}

// resetRate starts a new measurement of the throughput, which is unknown while the queue is empty.
func (q *tenantQueue[T]) resetRate(now time.Time) { q.completed, q.measuredSince, q.rate = 0, now, 0 }

// throughput returns how many messages per second the company completes, once that is known.
func (q *tenantQueue[T]) throughput(now time.Time) (rate float64, known bool) {
	if now.Before(q.pausedUntil) {
		return 0, true
	}
	if quiet := now.Sub(q.measuredSince); quiet > 2*time.Second {
		return float64(q.completed) / quiet.Seconds(), true
	}
	return q.rate, q.rate > 0
}

// redeliverAfter returns the redelivery delay of a message that is released because there is no room. Its turn is
// estimated to come after the queued messages and the messages released earlier. The delay ends on a whole second, so that
// redeliveries coincide: each one makes the broker scan all pending messages.
func (q *tenantQueue[T]) redeliverAfter(now time.Time, companies int) time.Duration {
	begin, rate := now, float64(initialRate)
	if q.pausedUntil.After(now) {
		begin = q.pausedUntil
	} else if measured, known := q.throughput(now); known {
		rate = max(measured, minRedeliveryRate/float64(companies))
	}
	if first := begin.Add(timeFor(len(q.messages), rate)); first.After(q.lastRedelivery) {
		q.lastRedelivery = first
	}
	q.lastRedelivery = q.lastRedelivery.Add(timeFor(1, rate))
	at := q.lastRedelivery
	if end := begin.Add(maxRedeliveryDelay); at.After(end) {
		q.lastRedelivery, at = end, end.Add(-rand.N(maxRedeliveryDelay/2))
	}
	if first := now.Add(minRedeliveryDelay); at.Before(first) {
		at = first
	}
	return at.Truncate(time.Second).Add(time.Second).Sub(now)
}

// timeFor is how long n messages take at a rate, at most maxRedeliveryDelay.
func timeFor(n int, rate float64) time.Duration {
	return time.Duration(min(float64(n)/max(rate, 1e-6), maxRedeliveryDelay.Seconds()) * float64(time.Second))
}

// NextWake returns when the next pause of a company with queued messages ends; zero: none is paused.
func (s *Scheduler[T]) NextWake(now time.Time) time.Time {
	var first time.Time
	for _, q := range s.ready {
		if q.pausedUntil.After(now) && (first.IsZero() || q.pausedUntil.Before(first)) {
			first = q.pausedUntil
		}
	}
	return first
}

// Wanted returns how many messages to pull: none while all handlers are busy, and at least minPull while one is free,
// even if the queues are full. Full queues may belong to paused companies while the next messages of the stream belong to
// other companies: Add always accepts the first message of a company, and the surplus is released.
func (s *Scheduler[T]) Wanted() int {
	if s.running >= s.limits.Running {
		return 0
	}
	return max(minPull, s.limits.Queued-s.queued)
}
