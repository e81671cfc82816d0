package procore

import "time"

// window is one of the two windows. An answer shows one of them. Meanwhile the other one is counted by the calls that this one
// shows: the headers show the window that has fewer calls left, so an error in the other one is corrected in time.
type window struct {
	size  time.Duration
	limit int       // 0: never shown
	left  int       // at the last answer
	reset int64     // the shown end, in seconds of Procore's clock; 0: not shown, it is counted
	ends  time.Time // by the local clock, at the latest; zero: the last window is over, and the next call begins a new one
	asOf  time.Time // when left was true

	answer int // number of the last answer that showed it, see limiter.answers
	shown  int // what that answer left

	own, others             int  // calls in it: of this process, begun, and of others, as the answers show
	ownBefore, othersBefore int  // in the window before it
	hasBefore               bool // there was a window before it
	delayed                 bool // this process wanted more calls
	turns                   map[int64]*turn
}

// turn is what a company requested of a window: calls that were begun, calls that the window delayed, and the sum of both in the
// window before.
type turn struct{ used, delayed, before int }

func (t turn) expected() int { return max(t.used+t.delayed, t.before) }

func (w *window) turn(company int64) *turn {
	if w.turns == nil {
		w.turns = map[int64]*turn{}
	}
	if w.turns[company] == nil {
		w.turns[company] = &turn{}
	}
	return w.turns[company]
}

// endsAt reports whether the window was shown to end at a reset. Procore may round it up or down.
func (w *window) endsAt(reset int64) bool { return reset >= w.reset-1 && reset <= w.reset+1 }

// roll ends a window whose time is over.
func (w *window) roll(now time.Time) {
	if !w.ends.IsZero() && !now.Before(w.ends) {
		w.next(0)
		w.left, w.reset, w.ends = w.limit, 0, time.Time{}
	}
}

// next begins the next window, with some calls in flight. If this process wanted more calls in the last one, the others are
// assumed to have used the rest: it cannot know what they did after its last answer.
func (w *window) next(inFlight int) {
	if w.delayed && w.others > 0 {
		w.others = w.limit - w.own
	}
	w.ownBefore, w.othersBefore, w.hasBefore = w.own, w.others, true
	w.own, w.others, w.delayed = inFlight, 0, false
	for id, t := range w.turns {
		if *t = (turn{before: t.used + t.delayed}); t.before == 0 {
			delete(w.turns, id)
		}
	}
}

// comparable reports whether an answer would show this window, which is one of a company, if Procore counted by client: the window
// still runs, and the call was sent after the last answer that showed it.
func (w *window) comparable(h rates, r reservation, now time.Time) bool {
	return w.reset != 0 && w.limit == h.limit && w.ends.After(now.Add(endSlack)) && r.answers >= w.answer
}

// update records an answer that shows the window. It returns how many calls the window has counted since the last one.
func (w *window) update(h rates, r reservation, answer int, now time.Time, inFlight int) (counted int) {
	inOrder := r.answers >= w.answer // the call was sent after the last answer
	counted = 1
	switch {
	case !inOrder && h.reset < w.reset-1:
		return 1 // a late answer, of a window that is over
	case w.limit != h.limit || !w.endsAt(h.reset):
		if w.reset != 0 && h.reset > w.reset && now.After(w.ends.Add(-endSlack)) {
			w.next(inFlight)
			counted = h.limit - h.left
		}
		w.limit, w.left, w.reset, w.ends = h.limit, h.left, h.reset, h.ends
	default:
		before := w.left
		if inOrder || h.left < w.left { // of answers to concurrent calls, the lowest is the latest
			w.left = h.left
		}
		counted = max(0, before-w.left)
		if h.ends.Before(w.ends) {
			w.ends = h.ends
		}
	}
	w.others = max(w.others, w.limit-w.left-w.own)
	w.asOf, w.answer, w.shown = now, answer, h.left
	return counted
}

// count counts calls by an answer that shows the other window.
func (w *window) count(calls int, now time.Time) {
	w.left -= calls
	w.others, w.asOf = max(w.others, w.limit-w.left-w.own), now
	if w.ends.IsZero() {
		w.ends = now.Add(w.size)
	}
}

// wait returns how long the window allows no call; 0: one may be made now.
func (w *window) wait(now time.Time, inFlight int, a asking) time.Duration {
	uncertain := w.reset == 0 && (w.ends.IsZero() || w.left <= 0)
	if w.limit == 0 || uncertain && inFlight == 0 { // one call shows it
		return 0
	}
	leave, owed := 0, 0
	if a.bulk {
		leave = w.fifth()
	}
	if a.company != 0 {
		owed = w.owed(a.company)
		leave = max(leave, owed)
	}
	rest, age := w.size, time.Duration(0)
	if !w.ends.IsZero() {
		rest, age = min(w.ends.Sub(now), w.size), now.Sub(w.asOf)
	}
	spare := float64(w.left - inFlight - leave - 1)
	lookAgain, room := w.room(spare, rest, age, inFlight)
	if room || a.company != 0 && owed == 0 && inFlight == 0 && spare >= float64(w.fifth()-1) { // the fifth that others leave it
		return 0
	}
	w.delayed = true
	if a.company != 0 {
		if t := w.turn(a.company); t.delayed < w.limit {
			t.delayed++
		}
	}
	if w.ends.IsZero() {
		return answerWait
	}
	return max(min(lookAgain, rest), answerWait)
}

// room reports whether spare calls, after this one, are enough for the other processes. They are expected to call at the rate at
// which they did in this window and the last:
//
//	a call                                           leaves them
//	──────────────────────────────────────────────── ──────────────────────────────────────────────────────────────────
//	as a rule                                        the calls that they make from the last answer to the end
//	with none in flight, a fifth of a window after   the calls that they have made since the last answer, and as many as are
//	the last answer: it shows what they really did   made if each of them makes one now
//
// again is when it is worth to ask again.
func (w *window) room(spare float64, rest, age time.Duration, inFlight int) (again time.Duration, ok bool) {
	measured := max(w.size-rest, w.size/10)
	if w.hasBefore {
		measured = 2*w.size - rest
	}
	others := float64(w.others + w.othersBefore)
	rate, each := others/float64(measured), others/float64(max(w.own+w.ownBefore, 1))
	lookAfter := w.size / 5
	if inFlight == 0 && age >= lookAfter {
		return rest, spare >= rate*float64(age)+each
	}
	ok = spare >= max(rate*float64(rest+age), each, 0)
	if spare >= rate*float64(lookAfter)+each {
		return lookAfter - age, ok
	}
	return rest, ok
}

// owed returns how many calls a company leaves to the other companies that share the window. Each has an equal share of what
// this process can have. A company beyond its share leaves the calls that the others are expected to request, up to their
// shares, and never uses the last fifth.
func (w *window) owed(company int64) int {
	wanting := 1
	for id, t := range w.turns {
		if id != company && t.expected() > 0 {
			wanting++
		}
	}
	share := max((w.limit-max(w.others, w.othersBefore))/max(wanting, 2), 1)
	if w.turn(company).used < share {
		return 0
	}
	owed := 0
	for id, t := range w.turns {
		if id != company {
			owed += max(0, min(share, t.expected())-t.used)
		}
	}
	return max(owed, w.fifth())
}

// fifth returns a fifth of the limit, at least one call; 0 for a limit of one call.
func (w *window) fifth() int { return min(max(w.limit/5, 1), w.limit-1) }
