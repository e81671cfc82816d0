package bus

import (
	"math/rand/v2"
	"slices"
	"time"
)

// fair decides whose message a consumer works next. It holds more messages than run, in a lane
// for each company, so that it sees past the backlog of one to the messages of the others:
//
//	whose turn        the companies with something to do, one message each, in turn
//	how many at once  as many as there are free slots: one company alone gets half of them, n
//	                  get one (n+1)th each; some are always free for whoever comes next
//	after a throttle  none until then, and afterwards half as many at once as before; each
//	                  message that ends adds one
//	when all fail     after eight messages in a row the same, for 0.2, 0.4 … 5 s: whatever is
//	                  down is asked now and then, not by every message in turn
//	held              as many as there is free room, by number and by bytes; but no more than
//	                  the lane gets through in two seconds, once that is known; one in any case
//	the surplus       handed back, to come again about when its turn would be, or sooner: see slowest
//
// It knows no broker and no clock, and is not safe for concurrent use.
type scheduler struct {
	concurrency int // handlers at once
	maxQueued   int // messages held
	maxBytes    int // their bytes
	running     int
	queued      int
	bytes       int
	tenants     map[int64]*tenantQueue
	ready       []*tenantQueue // those that hold something; the first has waited longest for its turn
}

// lane is one company's share of a consumer.
type tenantQueue struct {
	messages      []*prefetched
	bytes         int // bytes in queue
	running       int
	limit         int       // most at once, since a throttle; 0: nothing was throttled lately
	pausedUntil   time.Time // none before, as Procore or the ERP asked
	failures      int       // messages in a row
	lastFailed    uint64    // the sequence of the last of them
	pauses        int       // stops in a row since one did not fail
	completed     int       // since mark, with always more in the queue
	measuredSince time.Time
	rate          float64   // messages a second; 0: not known
	lastReturn    time.Time // when the last that was handed back comes again
}

const (
	// fewest is what a slow lane may hold, as far as there is room.
	minShare = 256
	// guess is the rate of a lane of which none is known yet, in messages a second.
	initialRate = 1000
	// leastPull is how many messages are asked for at least while a slot is free.
	minPull = 64
	// slowest is how many messages a second come again at least, of all companies that hold some in sum, however
	// slowly they get on: when whatever hangs answers again, the few must not be away for minutes.
	minReturnRate = 100
	// soonest and latest bound how long what was handed back stays away.
	minReturn = time.Second
	maxReturn = 2 * time.Minute
	// inARow is how many messages must fail for a lane to stop, first for firstStop, at last
	// for longestStop.
	failuresToPause = 8
	minPause        = 200 * time.Millisecond
	maxPause        = 5 * time.Second
)

// ending is how an attempt ended, as far as its lane cares.
type result struct {
	throttled bool // until wait is over
	wait      time.Duration
	failed    bool // it comes again
}

// add takes a message in, or says after how long it should come again.
func (f *scheduler) add(h *prefetched, company int64, now time.Time) (later time.Duration, kept bool) {
	l := f.tenants[company]
	if l == nil {
		l = &tenantQueue{}
		f.tenants[company] = l
	}
	switch {
	case len(l.messages) == 0:
		l.resetRate(now)
		f.ready = append(f.ready, l)
	case len(l.messages) >= f.share(l, now) || l.bytes+h.size > f.maxBytes-f.bytes:
		return l.redeliverAfter(now, len(f.ready)), false
	}
	h.queue = l
	l.messages = append(l.messages, h)
	l.bytes, f.bytes, f.queued = l.bytes+h.size, f.bytes+h.size, f.queued+1
	return 0, true
}

// share is how many messages a lane may hold.
func (f *scheduler) share(l *tenantQueue, now time.Time) int {
	free := f.maxQueued - f.queued
	if rate, known := l.throughput(now); known {
		return min(free, max(minShare, int(2*rate)))
	}
	return free
}

// start gives the next message to work; nil: nobody may start one.
func (f *scheduler) next(now time.Time) *prefetched {
	i := slices.IndexFunc(f.ready, func(l *tenantQueue) bool { return f.mayStart(l, now) })
	if i < 0 {
		return nil
	}
	l := f.ready[i]
	h := l.messages[0]
	l.messages[0], l.messages = nil, l.messages[1:]
	l.bytes, f.bytes, f.queued = l.bytes-h.size, f.bytes-h.size, f.queued-1
	l.running, f.running = l.running+1, f.running+1
	f.ready = slices.Delete(f.ready, i, i+1)
	if len(l.messages) > 0 {
		f.ready = append(f.ready, l)
	}
	return h
}

func (f *scheduler) mayStart(l *tenantQueue, now time.Time) bool {
	free := f.concurrency - f.running
	return free > 0 && (l.running == 0 || l.running < free) && (l.limit == 0 || l.running < l.limit) && !now.Before(l.pausedUntil)
}

// end takes note of how a message ended that was started.
func (f *scheduler) finish(h *prefetched, e result, now time.Time) {
	l := h.queue
	switch {
	case e.throttled:
		l.throttle(e.wait, now)
	case e.failed:
		l.fail(h.sequence(), now)
	default:
		l.succeed(f.concurrency, now)
	}
	l.running, f.running = l.running-1, f.running-1
}

// fail stops the lane where nothing but failures come. One message that fails again and
// again stops nobody, nor do those that ran when the lane was stopped.
func (l *tenantQueue) fail(sequence uint64, now time.Time) {
	if sequence == l.lastFailed || now.Before(l.pausedUntil) {
		return
	}
	l.lastFailed = sequence
	if l.failures++; l.failures >= failuresToPause {
		l.throttle(min(minPause<<min(l.pauses, 10), maxPause), now)
		l.pauses++
	}
}

// throttle stops the lane until wait is over. Those that ran beside the first to be throttled
// are told the same, and change nothing more.
func (l *tenantQueue) throttle(wait time.Duration, now time.Time) {
	if !now.Before(l.pausedUntil) {
		l.limit = max(1, l.running/2)
	}
	if until := now.Add(wait); until.After(l.pausedUntil) {
		l.pausedUntil = until
	}
	l.resetRate(l.pausedUntil)
}

func (l *tenantQueue) succeed(slots int, now time.Time) {
	l.failures, l.lastFailed, l.pauses = 0, 0, 0
	if l.limit > 0 {
		if l.limit++; l.limit >= slots {
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

// forget what the rate was: a lane that ran dry does not tell what it bears.
func (l *tenantQueue) resetRate(now time.Time) { l.completed, l.measuredSince, l.rate = 0, now, 0 }

// pace is how many messages a second the lane gets through, once it is known.
func (l *tenantQueue) throughput(now time.Time) (rate float64, known bool) {
	if now.Before(l.pausedUntil) {
		return 0, true
	}
	if quiet := now.Sub(l.measuredSince); quiet > 2*time.Second {
		return float64(l.completed) / quiet.Seconds(), true
	}
	return l.rate, l.rate > 0
}

// later is when a message that finds no room should come again: after those that wait here
// and those that were handed back before it, as far as that can be told. Those of a second
// come together, since the broker looks through all that is pending each time.
func (l *tenantQueue) redeliverAfter(now time.Time, lanes int) time.Duration {
	begin, rate := now, float64(initialRate)
	if l.pausedUntil.After(now) {
		begin = l.pausedUntil
	} else if known, ok := l.throughput(now); ok {
		rate = max(known, minReturnRate/float64(lanes))
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

// last is how long n messages take at a rate, as far as it matters.
func timeFor(n int, rate float64) time.Duration {
	return time.Duration(min(float64(n)/max(rate, 1e-6), maxReturn.Seconds()) * float64(time.Second))
}

// wake is when the next lane may go on that waits out a throttle; zero: none does.
func (f *scheduler) nextWake(now time.Time) time.Time {
	var first time.Time
	for _, l := range f.ready {
		if l.pausedUntil.After(now) && (first.IsZero() || l.pausedUntil.Before(first)) {
			first = l.pausedUntil
		}
	}
	return first
}

// free says how many more messages may be asked for: none while no slot is free, and else at least
// a few, even where the room is taken: by companies that wait, for all we know, and those behind them
// must not. Of a company that holds nothing one is kept in any case, the others are handed back.
func (f *scheduler) wanted() int {
	if f.running >= f.concurrency {
		return 0
	}
	return max(minPull, f.maxQueued-f.queued)
}
