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
//	concurrency   limited by the free workers: n busy companies may each use 1/(n+1) of the workers (a single
//	              company: half), so that some are always free for the next company
//	throttled     the company starts nothing until the wait is over, and half as many at once afterwards;
//	              each success raises that limit by one
//	paused        by an operator: the company starts nothing; see Pause
//	failing       eight failures in a row pause the company for 0.2, 0.4 … 5 s, so that a system that is
//	              down is probed now and then, and not by every message
//	queued        as much as fits in Limits; once its rate is known, at most two seconds' worth or minShare,
//	              whichever is more; always at least one
//	surplus       released to the broker, for redelivery about when its turn comes, or earlier: see minReturnRate
//
// Its methods must not be called concurrently.
type Scheduler[T any] struct {
	limits  Limits
	running int
	queued  int
	bytes   int                       // of the queued messages
	tenants map[int64]*tenantQueue[T] // by company
	ready   []*tenantQueue[T]         // the ones that are not empty; the first has waited longest for its turn
}

// Limits are the limits of a Scheduler.
type Limits struct {
	Running int // messages running at once
	Queued  int // messages queued in addition to those
	Bytes   int // size of the queued messages
}

// New returns a Scheduler without messages.
func New[T any](l Limits) *Scheduler[T] {
	return &Scheduler[T]{limits: l, tenants: map[int64]*tenantQueue[T]{}}
}

// message is a queued message.
type message[T any] struct {
	value T
	size  int
}

// tenantQueue is the queue of one company.
type tenantQueue[T any] struct {
	company       int64
	messages      []message[T]
	bytes         int // of messages
	running       int
	limit         int       // of running, since a throttle; 0: none
	pausedUntil   time.Time // nothing starts before
	failures      int       // in a row
	lastFailed    uint64    // sequence of the last failure
	pauses        int       // in a row, since the last success
	completed     int       // since measuredSince, while the queue was never empty
	measuredSince time.Time
	rate          float64   // messages per second; 0: not known
	lastReturn    time.Time // when the last released message is redelivered
}

const (
	// minShare is how many messages a slow company may queue, if there is room.
	minShare = 256
	// initialRate is the assumed throughput of a company before it is measured, in messages per second.
	initialRate = 1000
	// minPull is the least number of messages to pull while a worker is free.
	minPull = 64
	// minReturnRate is the least rate of redelivery, in messages per second over all companies with queued messages,
	// however slow they are: when a hanging system recovers, the released messages must not be minutes away.
	minReturnRate = 100
	// minReturn and maxReturn bound the delay of a redelivery.
	minReturn = time.Second
	maxReturn = 2 * time.Minute
	// failuresToPause failures in a row pause a company, first for minPause, at most for maxPause.
	failuresToPause = 8
	minPause        = 200 * time.Millisecond
	maxPause        = 5 * time.Second
)

// Result is how an attempt at a message ended. The zero value: the message is done.
type Result struct {
	Throttled bool          // the company must wait
	Wait      time.Duration // if Throttled
	Failed    bool          // the message is redelivered
}

// Add queues a message of size bytes. If there is no room it returns false, and the delay after which the message should
// be redelivered.
func (f *Scheduler[T]) Add(company int64, value T, size int, now time.Time) (delay time.Duration, queued bool) {
	l := f.tenants[company]
	if l == nil {
		l = &tenantQueue[T]{company: company}
		f.tenants[company] = l
	}
	switch {
	case len(l.messages) == 0:
		l.resetRate(now)
		f.ready = append(f.ready, l)
	case len(l.messages) >= f.share(l, now) || l.bytes+size > f.limits.Bytes-f.bytes:
		return l.redeliverAfter(now, len(f.ready)), false
	}
	l.messages = append(l.messages, message[T]{value, size})
	l.bytes, f.bytes, f.queued = l.bytes+size, f.bytes+size, f.queued+1
	return 0, true
}

// share is how many messages a company may queue.
func (f *Scheduler[T]) share(l *tenantQueue[T], now time.Time) int {
	free := f.limits.Queued - f.queued
	if rate, known := l.throughput(now); known {
		return min(free, max(minShare, int(2*rate)))
	}
	return free
}

// pauseCheck is how long Pause pauses a company.
const pauseCheck = time.Second

// Pause pauses, for a second, each company with queued messages for which paused returns true. Call it before each series
// of calls of Next. A nil paused pauses none.
func (f *Scheduler[T]) Pause(paused func(company int64) bool, now time.Time) {
	if paused == nil {
		return
	}
	for _, l := range f.ready {
		if !now.Before(l.pausedUntil) && paused(l.company) {
			l.pausedUntil = now.Add(pauseCheck)
		}
	}
}

// Next returns the next message to start, or false if no company may start one. The caller calls Finish when the attempt
// has ended.
func (f *Scheduler[T]) Next(now time.Time) (value T, ok bool) {
	i := slices.IndexFunc(f.ready, func(l *tenantQueue[T]) bool { return f.mayStart(l, now) })
	if i < 0 {
		return value, false
	}
	l := f.ready[i]
	m := l.messages[0]
	l.messages[0], l.messages = message[T]{}, l.messages[1:]
	l.bytes, f.bytes, f.queued = l.bytes-m.size, f.bytes-m.size, f.queued-1
	l.running, f.running = l.running+1, f.running+1
	f.ready = slices.Delete(f.ready, i, i+1)
	if len(l.messages) > 0 {
		f.ready = append(f.ready, l)
	}
	return m.value, true
}

func (f *Scheduler[T]) mayStart(l *tenantQueue[T], now time.Time) bool {
	free := f.limits.Running - f.running
	return free > 0 && (l.running == 0 || l.running < free) && (l.limit == 0 || l.running < l.limit) && !now.Before(l.pausedUntil)
}

// Finish records the result of a message of the company that Next returned. sequence identifies the message.
func (f *Scheduler[T]) Finish(company int64, sequence uint64, r Result, now time.Time) {
	l := f.tenants[company]
	switch {
	case r.Throttled:
		l.throttle(r.Wait, now)
	case r.Failed:
		l.fail(sequence, now)
	default:
		l.succeed(f.limits.Running, now)
	}
	l.running, f.running = l.running-1, f.running-1
}

// fail pauses the company after failuresToPause failures in a row. Repeated failures of one message count once, and
// failures during a pause do not count: those messages were running when it began.
func (l *tenantQueue[T]) fail(sequence uint64, now time.Time) {
	if sequence == l.lastFailed || now.Before(l.pausedUntil) {
		return
	}
	l.lastFailed = sequence
	if l.failures++; l.failures >= failuresToPause {
		l.throttle(min(minPause<<min(l.pauses, 10), maxPause), now)
		l.pauses++
	}
}

// throttle pauses the company for wait. Only the first throttle halves its limit: messages that were running beside
// that one are throttled as well, for the same reason.
func (l *tenantQueue[T]) throttle(wait time.Duration, now time.Time) {
	if !now.Before(l.pausedUntil) {
		l.limit = max(1, l.running/2)
	}
	if until := now.Add(wait); until.After(l.pausedUntil) {
		l.pausedUntil = until
	}
	l.resetRate(l.pausedUntil)
}

func (l *tenantQueue[T]) succeed(concurrency int, now time.Time) {
	l.failures, l.lastFailed, l.pauses = 0, 0, 0
	if l.limit > 0 {
		if l.limit++; l.limit >= concurrency {
			l.limit = 0
		}
	}
	if len(l.messages) == 0 {
		l.resetRate(now)
		return
	}
	l.completed++
	if took := now.Sub(l.measuredSince); took >= time.Second {
		l.rate = float64(l.completed) / took.Seconds()
		l.completed, l.measuredSince = 0, now
	}
}

// resetRate starts a new measurement: an empty queue says nothing about throughput.
func (l *tenantQueue[T]) resetRate(now time.Time) { l.completed, l.measuredSince, l.rate = 0, now, 0 }

// throughput returns how many messages per second the company completes, once that is known.
func (l *tenantQueue[T]) throughput(now time.Time) (rate float64, known bool) {
	if now.Before(l.pausedUntil) {
		return 0, true
	}
	if quiet := now.Sub(l.measuredSince); quiet > 2*time.Second {
		return float64(l.completed) / quiet.Seconds(), true
	}
	return l.rate, l.rate > 0
}

// redeliverAfter returns the delay for a message that finds no room: its turn is estimated to come after the queued
// messages and the ones released before it. Delays end on whole seconds so that redeliveries coincide: each one makes the
// broker scan all pending messages.
func (l *tenantQueue[T]) redeliverAfter(now time.Time, companies int) time.Duration {
	begin, rate := now, float64(initialRate)
	if l.pausedUntil.After(now) {
		begin = l.pausedUntil
	} else if known, ok := l.throughput(now); ok {
		rate = max(known, minReturnRate/float64(companies))
	}
	if first := begin.Add(timeFor(len(l.messages), rate)); first.After(l.lastReturn) {
		l.lastReturn = first
	}
	l.lastReturn = l.lastReturn.Add(timeFor(1, rate))
	at := l.lastReturn
	if end := begin.Add(maxReturn); at.After(end) {
		l.lastReturn, at = end, end.Add(-rand.N(maxReturn/2))
	}
	if first := now.Add(minReturn); at.Before(first) {
		at = first
	}
	return at.Truncate(time.Second).Add(time.Second).Sub(now)
}

// timeFor is how long n messages take at a rate, at most maxReturn.
func timeFor(n int, rate float64) time.Duration {
	return time.Duration(min(float64(n)/max(rate, 1e-6), maxReturn.Seconds()) * float64(time.Second))
}

// NextWake returns when the next pause of a company with queued messages ends; zero: none is paused.
func (f *Scheduler[T]) NextWake(now time.Time) time.Time {
	var first time.Time
	for _, l := range f.ready {
		if l.pausedUntil.After(now) && (first.IsZero() || l.pausedUntil.Before(first)) {
			first = l.pausedUntil
		}
	}
	return first
}

// Wanted returns how many messages to pull: none while all workers are busy, and at least minPull otherwise, even if
// the queues are full. They may be full of paused companies' messages, and the messages behind those may belong to
// others: Add always takes the first message of a company, and the surplus is released.
func (f *Scheduler[T]) Wanted() int {
	if f.running >= f.limits.Running {
		return 0
	}
	return max(minPull, f.limits.Queued-f.queued)
}
