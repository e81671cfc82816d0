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
type fair struct {
	slots    int // handlers at once
	room     int // messages held
	roomSize int // their bytes
	running  int
	held     int
	size     int
	lanes    map[int64]*lane
	turns    []*lane // those that hold something; the first has waited longest for its turn
}

// lane is one company's share of a consumer.
type lane struct {
	queue   []*held
	size    int // bytes in queue
	running int
	window  int       // most at once, since a throttle; 0: nothing was throttled lately
	until   time.Time // none before, as Procore or the ERP asked
	failed  int       // messages in a row
	last    uint64    // the sequence of the last of them
	trips   int       // stops in a row since one did not fail
	ended   int       // since mark, with always more in the queue
	mark    time.Time
	rate    float64   // messages a second; 0: not known
	next    time.Time // when the last that was handed back comes again
}

const (
	// fewest is what a slow lane may hold, as far as there is room.
	fewest = 256
	// guess is the rate of a lane of which none is known yet, in messages a second.
	guess = 1000
	// leastPull is how many messages are asked for at least while a slot is free.
	leastPull = 64
	// slowest is how many messages a second come again at least, of all companies that hold some in sum, however
	// slowly they get on: when whatever hangs answers again, the few must not be away for minutes.
	slowest = 100
	// soonest and latest bound how long what was handed back stays away.
	soonest = time.Second
	latest  = 2 * time.Minute
	// inARow is how many messages must fail for a lane to stop, first for firstStop, at last
	// for longestStop.
	inARow      = 8
	firstStop   = 200 * time.Millisecond
	longestStop = 5 * time.Second
)

// ending is how an attempt ended, as far as its lane cares.
type ending struct {
	throttled bool // until wait is over
	wait      time.Duration
	failed    bool // it comes again
}

// add takes a message in, or says after how long it should come again.
func (f *fair) add(h *held, company int64, now time.Time) (later time.Duration, kept bool) {
	l := f.lanes[company]
	if l == nil {
		l = &lane{}
		f.lanes[company] = l
	}
	switch {
	case len(l.queue) == 0:
		l.forget(now)
		f.turns = append(f.turns, l)
	case len(l.queue) >= f.share(l, now) || l.size+h.size > f.roomSize-f.size:
		return l.later(now, len(f.turns)), false
	}
	h.lane = l
	l.queue = append(l.queue, h)
	l.size, f.size, f.held = l.size+h.size, f.size+h.size, f.held+1
	return 0, true
}

// share is how many messages a lane may hold.
func (f *fair) share(l *lane, now time.Time) int {
	free := f.room - f.held
	if rate, known := l.pace(now); known {
		return min(free, max(fewest, int(2*rate)))
	}
	return free
}

// start gives the next message to work; nil: nobody may start one.
func (f *fair) start(now time.Time) *held {
	i := slices.IndexFunc(f.turns, func(l *lane) bool { return f.may(l, now) })
	if i < 0 {
		return nil
	}
	l := f.turns[i]
	h := l.queue[0]
	l.queue[0], l.queue = nil, l.queue[1:]
	l.size, f.size, f.held = l.size-h.size, f.size-h.size, f.held-1
	l.running, f.running = l.running+1, f.running+1
	f.turns = slices.Delete(f.turns, i, i+1)
	if len(l.queue) > 0 {
		f.turns = append(f.turns, l)
	}
	return h
}

func (f *fair) may(l *lane, now time.Time) bool {
	free := f.slots - f.running
	return free > 0 && (l.running == 0 || l.running < free) && (l.window == 0 || l.running < l.window) && !now.Before(l.until)
}

// end takes note of how a message ended that was started.
func (f *fair) end(h *held, e ending, now time.Time) {
	l := h.lane
	switch {
	case e.throttled:
		l.throttle(e.wait, now)
	case e.failed:
		l.fail(h.sequence(), now)
	default:
		l.done(f.slots, now)
	}
	l.running, f.running = l.running-1, f.running-1
}

// fail stops the lane where nothing but failures come. One message that fails again and
// again stops nobody, nor do those that ran when the lane was stopped.
func (l *lane) fail(sequence uint64, now time.Time) {
	if sequence == l.last || now.Before(l.until) {
		return
	}
	l.last = sequence
	if l.failed++; l.failed >= inARow {
		l.throttle(min(firstStop<<min(l.trips, 10), longestStop), now)
		l.trips++
	}
}

// throttle stops the lane until wait is over. Those that ran beside the first to be throttled
// are told the same, and change nothing more.
func (l *lane) throttle(wait time.Duration, now time.Time) {
	if !now.Before(l.until) {
		l.window = max(1, l.running/2)
	}
	if until := now.Add(wait); until.After(l.until) {
		l.until = until
	}
	l.forget(l.until)
}

func (l *lane) done(slots int, now time.Time) {
	l.failed, l.last, l.trips = 0, 0, 0
	if l.window > 0 {
		if l.window++; l.window >= slots {
			l.window = 0
		}
	}
	if len(l.queue) == 0 {
		l.forget(now)
		return
	}
	l.ended++
	if took := now.Sub(l.mark); took >= time.Second {
		l.rate = float64(l.ended) / took.Seconds()
		l.ended, l.mark = 0, now
	}
}

// forget what the rate was: a lane that ran dry does not tell what it bears.
func (l *lane) forget(now time.Time) { l.ended, l.mark, l.rate = 0, now, 0 }

// pace is how many messages a second the lane gets through, once it is known.
func (l *lane) pace(now time.Time) (rate float64, known bool) {
	if now.Before(l.until) {
		return 0, true
	}
	if quiet := now.Sub(l.mark); quiet > 2*time.Second {
		return float64(l.ended) / quiet.Seconds(), true
	}
	return l.rate, l.rate > 0
}

// later is when a message that finds no room should come again: after those that wait here
// and those that were handed back before it, as far as that can be told. Those of a second
// come together, since the broker looks through all that is pending each time.
func (l *lane) later(now time.Time, lanes int) time.Duration {
	begin, rate := now, float64(guess)
	if l.until.After(now) {
		begin = l.until
	} else if known, ok := l.pace(now); ok {
		rate = max(known, slowest/float64(lanes))
	}
	if first := begin.Add(last(len(l.queue), rate)); first.After(l.next) {
		l.next = first
	}
	l.next = l.next.Add(last(1, rate))
	at := l.next
	if end := begin.Add(latest); at.After(end) {
		l.next, at = end, end.Add(-rand.N(latest/2))
	}
	if first := now.Add(soonest); at.Before(first) {
		at = first
	}
	return at.Truncate(time.Second).Add(time.Second).Sub(now)
}

// last is how long n messages take at a rate, as far as it matters.
func last(n int, rate float64) time.Duration {
	return time.Duration(min(float64(n)/max(rate, 1e-6), latest.Seconds()) * float64(time.Second))
}

// wake is when the next lane may go on that waits out a throttle; zero: none does.
func (f *fair) wake(now time.Time) time.Time {
	var first time.Time
	for _, l := range f.turns {
		if l.until.After(now) && (first.IsZero() || l.until.Before(first)) {
			first = l.until
		}
	}
	return first
}

// free says how many more messages may be asked for: none while no slot is free, and else at least
// a few, even where the room is taken: by companies that wait, for all we know, and those behind them
// must not. Of a company that holds nothing one is kept in any case, the others are handed back.
func (f *fair) free() int {
	if f.running >= f.slots {
		return 0
	}
	return max(leastPull, f.room-f.held)
}
