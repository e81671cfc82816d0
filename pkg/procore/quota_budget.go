package procore

import "maps"

// budget is the known state of the limits of one client, shared by all processes that use it. Procore does not publish how it
// counts the calls of a client that several companies have, so this is derived from the headers of the answers:
//
//	the answers show                                         Procore counts     a call needs
//	──────────────────────────────────────────────────────── ────────────────── ──────────────────────────────────
//	nothing yet                                              not known          room in the client's windows, and in
//	                                                                            the company's as its answers show them
//	Remaining of one company falls by the calls of others    by client          the same
//	Remaining of one company does not fall by the calls of   by company         room in the company's windows
//	others, or is higher than all calls together leave it
//
// Until the answers show that companies are counted separately, no call is made that either way of counting would refuse. This
// is evaluated again with each answer, since it may change. A client of a single company has no parts: its limits are the
// client's.
//
// Companies that share a client's limits have a fair share of each window: Limit divided by the number of companies that
// request calls. A company beyond its share leaves to each other company the calls that it requested in this window or the
// last one, up to its share, and never uses the last fifth.
//
// Its methods are not safe for concurrent use.
type budget struct {
	limits                 // of the client: all calls count
	Parts  map[int64]*part `json:"parts,omitempty"` // by company; nil: the client is one company's own
	Apart  bool            `json:"apart,omitempty"` // Procore counts by company
}

// part is one company's part in a budget.
type part struct {
	limits              // the company's calls alone count
	HourDemand  demand  `json:"hour_demand"`
	SpikeDemand demand  `json:"spike_demand"`
	HourBase    reading `json:"hour_base"`
	SpikeBase   reading `json:"spike_base"`
	Last        int64   `json:"last"` // when a call was last requested
}

// demand counts the calls that a company requested and made in a shared window.
type demand struct {
	Round  int64 `json:"round"`  // the round of the window that Used and Missed belong to
	Used   int   `json:"used"`   // calls that were begun
	Missed int   `json:"missed"` // calls that the window delayed
	Before int   `json:"before"` // Used and Missed of the previous round
}

// in advances the demand to a round.
func (t demand) in(round int64) demand {
	switch {
	case t.Round == round:
		return t
	case t.Round == round-1:
		return demand{Round: round, Before: t.Used + t.Missed}
	}
	return demand{Round: round}
}

// expected returns how many calls the company is expected to request in the window.
func (t demand) expected() int { return max(t.Used+t.Missed, t.Before) }

func inRange(n int) int { return min(max(n, 0), maxCalls) }

// reading is an answer for a company, with which later answers are compared.
type reading struct {
	Limit int        `json:"limit,omitempty"` // 0: none yet
	Left  int        `json:"left,omitempty"`
	Reset int64      `json:"reset,omitempty"`
	All   callCounts `json:"all"` // the client's calls then
	Own   callCounts `json:"own"` // the company's
}

// callCounts are the numbers of calls at the time of an answer.
type callCounts struct {
	Ended   int64 `json:"ended,omitempty"`
	Counted int64 `json:"counted,omitempty"`
	Out     int   `json:"out,omitempty"`   // in flight: Procore may count them before or after the answer
	Maybe   int   `json:"maybe,omitempty"` // ended while the answer was in flight: likewise
}

// minEvidence is by how many calls the answers must differ from the prediction of one way of counting before that way is
// rejected: Procore's counters may be inexact.
const minEvidence = 3

// partRetention is how long an unused part is kept.
const partRetention = 3 * hour

func (b *budget) clone() budget {
	c := *b
	c.Claims = maps.Clone(b.Claims)
	if b.Parts != nil {
		c.Parts = make(map[int64]*part, len(b.Parts))
	}
	for id, p := range b.Parts {
		if p != nil {
			q := *p
			q.Claims = maps.Clone(p.Claims)
			c.Parts[id] = &q
		}
	}
	return c
}

func (b *budget) tidy(now int64, me string) {
	b.limits.tidy(now, me)
	for id, p := range b.Parts {
		if p == nil || p.Last < now-partRetention {
			delete(b.Parts, id)
			continue
		}
		p.limits.tidy(now, me)
		p.Last = min(p.Last, now)
		for _, t := range []*demand{&p.HourDemand, &p.SpikeDemand} {
			t.Used, t.Missed, t.Before = inRange(t.Used), inRange(t.Missed), inRange(t.Before)
		}
	}
}

// ensurePart returns a company's part, which it creates if necessary.
func (b *budget) ensurePart(company, now int64) *part {
	if b.Parts == nil {
		b.Parts = map[int64]*part{}
	}
	p := b.Parts[company]
	if p == nil {
		p = &part{}
		b.Parts[company] = p
	}
	p.Last = now
	p.HourDemand, p.SpikeDemand = p.HourDemand.in(b.Hour.Round), p.SpikeDemand.in(b.Spike.Round)
	return p
}

// claim sets the calls that a process has in flight, by company.
func (b *budget) claim(me string, calls map[int64]int, until int64) {
	all := 0
	for company, n := range calls {
		all += n
		if p := b.Parts[company]; p != nil {
			p.limits.claim(me, n, until)
		}
	}
	b.limits.claim(me, all, until)
}

// wait returns for how long, in ms, a company may make no call; 0: it may make one now. missed reports whether the call was
// counted as delayed.
func (b *budget) wait(company, now int64, bulk bool) (wait int64, missed bool) {
	p := b.Parts[company]
	if p == nil {
		return b.limits.wait(now, b.Hour.reserveIf(bulk), b.Spike.reserveIf(bulk)), false
	}
	own := p.limits.wait(now, p.Hour.reserveIf(bulk), p.Spike.reserveIf(bulk))
	if b.Apart {
		return own, false
	}
	ofHour := max(b.Hour.reserveIf(bulk), b.owedToOthers(company, &b.Hour, func(p *part) demand { return p.HourDemand }))
	ofSpike := max(b.Spike.reserveIf(bulk), b.owedToOthers(company, &b.Spike, func(p *part) demand { return p.SpikeDemand }))
	wait = max(own, b.limits.wait(now, ofHour, ofSpike))
	if wait > 0 {
		under := b.inFlight()
		missed = p.HourDemand.recordMiss(&b.Hour, b.Hour.wait(now, under, ofHour)) || missed
		missed = p.SpikeDemand.recordMiss(&b.Spike, b.Spike.wait(now, under, ofSpike)) || missed
	}
	return wait, missed
}

// recordMiss counts a call that the window delays, at most as many as the limit.
func (t *demand) recordMiss(w *window, wait int64) bool {
	if wait == 0 || t.Missed >= w.Limit {
		return false
	}
	t.Missed++
	return true
}

// owedToOthers returns how many calls of a shared window a company leaves to the others.
func (b *budget) owedToOthers(company int64, w *window, turnOf func(*part) demand) int {
	if w.Limit <= 1 {
		return 0
	}
	wanting := 1
	for id, p := range b.Parts {
		if id != company && turnOf(p).in(w.Round).expected() > 0 {
			wanting++
		}
	}
	share := max(w.Limit/max(wanting, 2), 1)
	if turnOf(b.Parts[company]).Used < share {
		return 0
	}
	owed := 0
	for id, p := range b.Parts {
		if t := turnOf(p).in(w.Round); id != company {
			owed += max(0, min(share, t.expected())-t.Used)
		}
	}
	return max(owed, w.reserve())
}

// reserve begins a call.
func (b *budget) reserve(company, now int64) reservation {
	t := reservation{company: company, at: now, all: b.mark()}
	if p := b.Parts[company]; p != nil {
		t.own = p.mark()
		p.HourDemand.Used++
		p.SpikeDemand.Used++
	}
	return t
}

// end records the end of a call.
func (b *budget) end(e end, now int64) {
	p := b.Parts[e.reservation.company]
	b.limits.end(e, e.reservation.all, now)
	if p == nil {
		return
	}
	p.limits.end(e, e.reservation.own, now)
	if e.how == answered && e.parsed && !e.refused {
		b.detectCounting(p, e)
	}
}

// detectCounting compares an answer for a company with earlier answers: the decrease of Remaining shows whose calls Procore
// counted. It considers only calls that Procore counted between the two answers for certain, which excludes calls in flight.
func (b *budget) detectCounting(p *part, e end) {
	shown, _, _ := p.sort(e)
	of := func(p *part) *reading { return &p.SpikeBase }
	if shown == &p.Hour {
		of = func(p *part) *reading { return &p.HourBase }
	}
	for _, other := range b.Parts {
		if other != p && !b.Apart && of(other).precedes(e) && b.unexplained(of(other), e) >= minEvidence {
			b.Apart = true
		}
	}
	base := of(p)
	if base.Limit != e.headers.limit || !near(base.Reset, e.headers.reset) {
		*base = b.reading(p, e)
		return
	}
	if e.reservation.all.ended < base.All.Ended {
		return // both were in flight at the same time
	}
	fell := base.Left - e.headers.left
	own := most(base.Own, p.Ended, p.inFlight())
	switch {
	case b.unexplained(base, e) >= minEvidence:
		b.Apart = true
	case fell-own >= minEvidence && fell <= most(base.All, b.Ended, b.inFlight()):
		b.Apart = false
	case fell-own < minEvidence && fell >= 0:
		return // no new information
	}
	*base = b.reading(p, e)
}

// precedes reports whether the window of a reading of another company was running when an answer was made, and the
// answer is to a call that began after it.
func (r *reading) precedes(e end) bool {
	made := e.headers.reset - e.headers.away
	return r.Limit == e.headers.limit && r.Reset > made+maxClockSkew && e.headers.reset > made+maxClockSkew && e.reservation.all.ended >= r.All.Ended
}

// unexplained returns how many more calls an answer leaves than it would if Procore counted by client.
func (b *budget) unexplained(r *reading, e end) int {
	between := max(0, since(e.reservation.all.counted, r.All.Counted)-r.All.Out)
	return e.headers.left - (r.Left - between - 1)
}

// most returns the maximum number of calls that Procore may have counted since a reading.
func most(then callCounts, ended int64, under int) int {
	return since(ended, then.Ended) + under + then.Maybe
}

func near(a, b int64) bool { return a >= b-1000 && a <= b+1000 }

func (b *budget) reading(p *part, e end) reading {
	return reading{
		Limit: e.headers.limit, Left: e.headers.left, Reset: e.headers.reset,
		All: callCounts{b.Ended, b.Counted, b.inFlight(), since(b.Ended, e.reservation.all.ended)},
		Own: callCounts{p.Ended, p.Counted, p.inFlight(), since(p.Ended, e.reservation.own.ended)},
	}
}

// of returns the limits that bind a company, and among how many companies they are shared now.
func (b *budget) of(company int64) (l *limits, among int) {
	p := b.Parts[company]
	if p != nil && b.Apart {
		return &p.limits, 1
	}
	among = 1
	for id, p := range b.Parts {
		if id != company && (p.HourDemand.in(b.Hour.Round).expected() > 0 || p.SpikeDemand.in(b.Spike.Round).expected() > 0) {
			among++
		}
	}
	return &b.limits, among
}
