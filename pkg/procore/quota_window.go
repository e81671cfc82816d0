package procore

// window is one of the two windows of a client. Times are in ms of Procore's clock; 0: none.
//
//	never shown    Limit 0      it limits no call
//	running        Ends > 0     Left calls are left, without those in flight
//	over           Ends 0       all calls of its last limit are left; the next call begins it
//
// An answer shows one window. The other one is counted locally, which is safe: each call is subtracted that Procore may have
// counted. The next answer that shows the window corrects it.
type window struct {
	Limit  int   `json:"limit"`
	Left   int   `json:"left"`             // before the calls in flight are subtracted
	Ends   int64 `json:"ends,omitempty"`   //
	Guess  bool  `json:"guess,omitempty"`  // Ends is the latest possible end, not one from an answer
	Since  int64 `json:"since,omitempty"`  // when the previous window ended, until a later call begins this one
	Doubt  int   `json:"doubt,omitempty"`  // subtracted calls without an answer, which Procore may not have counted
	Unseen int64 `json:"unseen,omitempty"` // answers that showed the other window
	Round  int64 `json:"round,omitempty"`  // number of windows that have ended
}

// roll ends a window whose time is over, and resets one with impossible values.
func (w *window) roll(now, size int64) {
	w.Left, w.Doubt = min(max(w.Left, -maxCalls), w.Limit), min(max(w.Doubt, 0), maxCalls)
	switch {
	case w.Ends > now+size+min(size/2, 60_000), w.Limit <= 0, w.Limit > maxCalls, w.Ends < 0:
		*w = window{Unseen: w.Unseen, Round: w.Round}
	case w.Ends == 0:
	case now >= w.Ends+grace:
		w.Left, w.Doubt, w.Ends, w.Guess, w.Since, w.Round = w.Limit, 0, 0, false, w.Ends+grace, w.Round+1
	}
}

const (
	// grace is how long after its reset a window counts as over, in ms: Procore may truncate the reset to the second.
	grace = 1000
	// answerWait is how long to wait for the answers of calls in flight, in ms.
	answerWait = 200
)

// wait returns for how many ms no call may be made, while under calls are in flight and some calls are left to others; 0: a call
// may be made now.
func (w *window) wait(now int64, under, leave int) int64 {
	if w.Limit == 0 {
		return 0
	}
	spare := w.Left - leave
	switch {
	case spare > under, under == 0 && (spare+w.Doubt > 0 || w.Ends == 0): // if it is uncertain, one call shows it
		return 0
	case spare+w.Doubt > 0, w.Ends == 0:
		return min(max((w.Ends-now)/10, answerWait), 5*answerWait)
	}
	return max(w.Ends+grace-now, answerWait)
}

// reserveIf returns how many calls are left to others: bulk work leaves the last fifth.
func (w *window) reserveIf(bulk bool) int {
	if bulk {
		return w.reserve()
	}
	return 0
}

// reserve returns a fifth of the limit, at least one call; 0 for a limit of one call.
func (w *window) reserve() int { return min(max(w.Limit/5, 1), w.Limit-1) }

// update updates the window from an answer that shows it. others is the number of calls that ended while the answer was in
// flight, unseen the number of those whose answers showed the other window.
func (w *window) update(t rateHeaders, now int64, others, unseen int) {
	switch {
	case w.Limit > 0 && t.reset+grace <= now, w.Ends > 0 && !w.Guess && t.reset < min(w.Ends-1000, now+2000):
		return // it shows a window that is over
	case w.Limit == 0, w.Ends > 0 && t.reset > w.Ends+1000, w.Limit != t.limit:
		if w.Ends > 0 && !w.Guess && t.reset > w.Ends+1000 {
			w.Round++
		}
		w.Left, w.Doubt = t.left-unseen, 0 // a new window; Procore may have counted those after this answer
	case others == 0: // only calls in flight may have been counted after this answer
		w.Left, w.Doubt = t.left, 0
	default: // answers may arrive out of order: the lowest is the latest
		most := min(w.Left+w.Doubt, t.left)
		w.Left = min(w.Left, t.left)
		w.Doubt = most - w.Left
	}
	w.Limit, w.Ends, w.Guess, w.Since = t.limit, t.reset, false, 0
}

// countHidden counts a call whose answer showed the other window. since is when the call was claimed.
func (w *window) countHidden(now, size, since int64) {
	w.Unseen++
	if w.Limit == 0 {
		return
	}
	w.Left--
	begun := w.Since == 0 || since >= w.Since // this call begins the window, unless an earlier one did
	if w.Ends == 0 || w.Since > 0 && begun {
		w.Ends, w.Guess = now+1000+size, true
	}
	if begun {
		w.Since = 0
	}
}

// countUncertain counts calls that Procore may have counted.
func (w *window) countUncertain(n int) {
	if w.Limit > 0 {
		w.Left, w.Doubt = w.Left-n, w.Doubt+n
	}
}
