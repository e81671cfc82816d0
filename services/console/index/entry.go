package index

import (
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
)

// entry is a row of the table requests.
type entry struct {
	id               int64 // 0: it is new
	company, request int64
	state            int // index of States; -1: none
	recheck          int64
	content
	messages []message

	was     int    // the state in the file; -1: none
	terms   string // in the search table
	written string // the terms in the file
}

// judgment is what follows from the messages of an entry at a time.
type judgment struct {
	state    int
	recheck  int64
	facets   []string
	document document // without the facets
}

// judge returns what follows from the messages of an entry, as of now. Entries may be judged concurrently.
func (x *Index) judge(e *entry, now time.Time) judgment {
	t, v := x.verdict(e, now)
	j := judgment{state: stateOf(t, v), recheck: recheckAt(t, v, now, time.Duration(x.kept.Load()))}
	if j.state >= 0 {
		j.facets = facetsOf(e, t, j.state)
		j.document = make(document, 0, 256+3*len(e.texts))
		j.document.addTimeline(t)
		j.document.add(e.texts)
	}
	return j
}

// terms returns the terms of a judgment. It adds facets that the file does not have.
func (w *writer) terms(j judgment) (string, error) {
	for _, name := range j.facets {
		f, err := w.facet(name)
		if err != nil {
			return "", err
		}
		j.document.term(f)
	}
	return string(j.document), nil
}

// set judges an entry.
func (w *writer) set(e *entry, j judgment) (err error) {
	e.state, e.recheck = j.state, j.recheck
	e.terms, err = w.terms(j)
	return err
}

// verdict returns what package request says of an entry. Procore is not asked.
func (x *Index) verdict(e *entry, now time.Time) (*request.Timeline, request.Verdict) {
	t := request.TimelineOf(e.request, storedAll(e.messages), time.Duration(x.kept.Load()))
	return t, t.Verdict(x.o.Rules(e.company), request.ProcoreLists{}, now)
}

// recheckAt returns when the state may change without a message, in Unix ms; 0: it does not.
func recheckAt(t *request.Timeline, v request.Verdict, now time.Time, kept time.Duration) int64 {
	const again = 10 * time.Second
	var at time.Time
	if d := t.OpenDeadLetter(); d != nil && d.State == request.StateInterrupted && kept > 0 {
		at = d.Resolutions[len(d.Resolutions)-1].At.AsTime().Add(kept) // then its replay counts as published
	}
	last := t.Last()
	switch {
	case v.Class == request.InProgress && !v.Due.IsZero(), last != nil && last.DeadLettered && len(t.DeadLetters) == 0 && now.Sub(last.At) < 5*time.Minute:
		// Overdue or Lost is due a moment after Due, or after the report.
		soon := now.Add(again)
		if v.Due.After(soon) {
			soon = v.Due
		}
		if at.IsZero() || soon.Before(at) {
			at = soon
		}
	}
	if at.IsZero() {
		return 0
	}
	return max(at.UnixMilli(), 1)
}

func facetsOf(e *entry, t *request.Timeline, state int) []string {
	category := bus.For(bus.Event, t.Type, 0, 0).Category
	return []string{companyFacet(e.company), typeFacet(t.Type), categoryFacet(category), stateFacet(state)}
}

const entryColumns = "id, company, request, state, recheck, record, amount, texts, history"

// scanEntry reads entryColumns.
func scanEntry(scan func(...any) error) (*entry, error) {
	e := &entry{}
	var history []byte
	if err := scan(&e.id, &e.company, &e.request, &e.state, &e.recheck, &e.record, &e.amount, &e.texts, &history); err != nil {
		return nil, err
	}
	e.was = e.state
	var err error
	e.messages, err = decode(history, e.company, e.request)
	return e, err
}
