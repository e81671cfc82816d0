package procore

// limits is the known state of the windows in which Procore counts the calls of a client, or of one of its companies.
// Times are in ms of Procore's clock. Its methods are not safe for concurrent use.
type limits struct {
	Hour    window           `json:"hour"`
	Spike   window           `json:"spike"`             // of 10 seconds
	Blocked int64            `json:"blocked,omitempty"` // until then, by a 429 or 503
	Asked   int64            `json:"asked,omitempty"`   // for so long; more is left only where Procore's clock went back
	Mute    int64            `json:"mute,omitempty"`    // no limits apply until then, because answers had no rate headers
	Refused int              `json:"refused,omitempty"` // blocks in a row by 429s and 503s without a time
	Since   int64            `json:"since,omitempty"`   // when the last of them began
	Ended   int64            `json:"ended"`             // calls, ever
	Counted int64            `json:"counted,omitempty"` // of those, calls that Procore is known to have counted
	Claims  map[string]claim `json:"claims,omitempty"`  // by process
}

// claim is the number of calls that one process has in flight. It expires, so that the calls of a process that crashed do
// not count for ever.
type claim struct {
	Calls int   `json:"calls"`
	Until int64 `json:"until"`
}

// reservation is the state of a reserved call until it ends.
type reservation struct {
	company  int64
	at       int64 // when it was claimed
	all, own mark  // of the client and of the company, at that time
}

// mark is how far limits have counted.
type mark struct{ ended, counted, hourSeen, spikeSeen int64 }

func (l *limits) mark() mark { return mark{l.Ended, l.Counted, l.Hour.Unseen, l.Spike.Unseen} }

// tidy ends windows, blocks and claims that are over at now. The claim of me, this process, does not expire.
func (l *limits) tidy(now int64, me string) {
	l.Hour.roll(now, hour)
	l.Spike.roll(now, spike)
	if l.Spike.Ends == 0 && l.Spike.Limit >= oddSpike && l.Hour.Limit == 0 {
		l.Spike.Limit = 0
	}
	l.Asked = min(max(l.Asked, 0), longestWait)
	if l.Blocked > now+l.Asked+maxClockSkew {
		l.Blocked = now + l.Asked
	}
	if l.Mute > now+muteFor {
		l.Mute = 0
	}
	l.Refused = min(max(l.Refused, 0), 7)
	l.Since = min(l.Since, now)
	for who, c := range l.Claims {
		if who != me && (c.Calls <= 0 || c.Until <= now || c.Until > now+longestWait) {
			l.countUncertain(min(max(c.Calls, 0), maxCalls))
			delete(l.Claims, who)
		}
	}
}

// countUncertain counts calls that Procore may or may not have counted.
func (l *limits) countUncertain(n int) {
	l.Hour.countUncertain(n)
	l.Spike.countUncertain(n)
}

func (l *limits) inFlight() int {
	n := 0
	for _, c := range l.Claims {
		n += min(max(c.Calls, 0), maxCalls)
	}
	return n
}

// claim sets the number of calls that a process has in flight.
func (l *limits) claim(me string, calls int, until int64) {
	if calls == 0 {
		delete(l.Claims, me)
		return
	}
	if l.Claims == nil {
		l.Claims = map[string]claim{}
	}
	l.Claims[me] = claim{Calls: calls, Until: until}
}

// known reports whether enough is known to allow concurrent calls: the spike limit, or a running hour, or that the answers
// have no limits.
func (l *limits) known(now int64) bool {
	return l.Spike.Limit > 0 || l.Hour.Ends > 0 || l.Mute > now
}

// wait returns for how many ms no call may be made; 0: one may be made now. A call needs both windows.
// While no limits are known, one call at a time is made to learn them. ofHour and ofSpike are how many calls of each
// window are left to others.
func (l *limits) wait(now int64, ofHour, ofSpike int) int64 {
	under := l.inFlight()
	switch {
	case l.Blocked > now:
		return l.Blocked - now
	case !l.known(now) && under > 0:
		return answerWait
	}
	return max(l.Hour.wait(now, under, ofHour), l.Spike.wait(now, under, ofSpike))
}

// since returns by how much a counter grew; after the store was lost, counters start again.
func since(now, then int64) int { return int(min(max(now-then, 0), maxCalls)) }

// outcome is how a call ended.
type outcome int

const (
	answered outcome = iota
	lost             // no answer: it may have been counted
	unsent           // it never reached Procore
)

// end is the end of a call.
type end struct {
	reservation reservation
	how         outcome
	headers     rateHeaders // of its answer, if parsed
	parsed      bool        // false: the answer has no valid rate headers
	good        bool        // 2xx
	refused     bool        // 429 or 503
	retry       int64       // of a refusal: ms to wait; -1: not given
}

// end records the end of a call that was reserved at a mark.
func (l *limits) end(e end, then mark, now int64) {
	others := since(l.Ended, then.ended)
	l.Ended++
	switch e.how {
	case unsent:
		return
	case lost:
		l.countUncertain(1)
		return
	}
	if !e.refused {
		l.Counted++
	}
	shown, hidden, size := l.sort(e)
	switch {
	case !e.parsed:
		l.Hour.countHidden(now, hour, e.reservation.at)
		l.Spike.countHidden(now, spike, e.reservation.at)
		if e.good {
			l.Mute = now + muteFor
		}
	case shown == &l.Hour:
		shown.update(e.headers, now, others, since(shown.Unseen, then.hourSeen))
		hidden.countHidden(now, size, e.reservation.at)
	default:
		shown.update(e.headers, now, others, since(shown.Unseen, then.spikeSeen))
		hidden.countHidden(now, size, e.reservation.at)
	}
	l.block(e, now)
}

// block blocks calls after a 429 or 503: for its Retry-After, or until the reset of the window that it shows as used up, or for
// 1, 2, 4 … 64 seconds. The last form doubles each time a call is refused that was sent after the previous block. Refusals of
// calls that were sent together with the first refused one do not count again.
func (l *limits) block(e end, now int64) {
	var wait int64
	switch {
	case !e.refused:
		l.Refused = 0
		return
	case e.retry >= 0:
		wait = e.retry
	case e.parsed && e.headers.left == 0:
		wait = e.headers.reset + grace - now
	default:
		if e.reservation.at > l.Since || l.Refused == 0 {
			l.Refused, l.Since = min(l.Refused+1, 7), now
		}
		wait = 500 << l.Refused
	}
	if wait = min(max(wait, 100), longestWait); now+wait > l.Blocked {
		l.Blocked, l.Asked = now+wait, wait
	}
}

const (
	// maxClockSkew is more than the processes' estimates of Procore's clock may differ by.
	maxClockSkew = 3000
	// oddSpike is a limit that was perhaps an hour's, seen in its last seconds before anything else.
	oddSpike = 1000
	// muteFor is how long calls are not limited after an answer without rate headers, in ms.
	muteFor = 60_000
)

// sort returns the window that an answer shows, and the other, hidden one, with its size; nil: none. A window is recognized by
// its limit, and by the time to its reset.
func (l *limits) sort(e end) (shown, hidden *window, size int64) {
	if !e.parsed {
		return nil, nil, 0
	}
	byHour, bySpike := l.Hour.Limit == e.headers.limit, l.Spike.Limit == e.headers.limit
	isHour := byHour
	if byHour == bySpike { // both have that limit, or it is a new one
		isHour = l.Hour.ends(e.headers.reset) && !l.Spike.ends(e.headers.reset)
	}
	if isHour || e.headers.away > spike+3000 {
		return &l.Hour, &l.Spike, spike
	}
	return &l.Spike, &l.Hour, hour
}

// ends reports whether the window is known to end at the reset of an answer.
func (w *window) ends(reset int64) bool {
	return w.Ends > 0 && !w.Guess && reset >= w.Ends-1000 && reset <= w.Ends+1000
}
