package bus

import (
	"cmp"
	"sync"
	"time"
)

// quarantine isolates suspects: messages with several unfinished attempts in a row, which have crashed the process or
// were in flight at the same time as one that did. One suspect at a time runs in a process, whatever its consumer, beside
// any number of other messages. Each crash therefore counts against one suspect alone: a bystander remains a suspect, but
// is not given up; see maxIsolation for the exception.
//
// Companies take turns: the next suspect of a company waits for at most one suspect of each other company, and at most max
// for each of them. A suspect that runs longer, as a sync may for an hour, continues beside the next one. The zero value is
// ready to use.
type quarantine struct {
	max       time.Duration // of a suspect's isolation; 0: maxIsolation
	slot      sync.Mutex    // held by the suspect that runs isolated
	mu        sync.Mutex
	companies map[int64]*sync.Mutex // by company; held by the company's suspect that runs isolated or is next
}

// maxIsolation is how long one suspect holds up the others. A poison message usually crashes the process well within this
// time. If a suspect runs longer, the next one runs beside it, and a crash counts against both. A bystander is given up by
// mistake only if it is in flight during three more crashes in a row after it became a suspect.
const maxIsolation = time.Minute

// quarantineAfter is the number of unfinished attempts that make a message a suspect.
const quarantineAfter = 2

// enter waits until no other suspect is isolated. The caller calls done when its attempt has ended.
func (q *quarantine) enter(company int64) (done func()) {
	q.mu.Lock()
	if q.companies == nil {
		q.companies = map[int64]*sync.Mutex{}
	}
	turn := q.companies[company]
	if turn == nil {
		turn = &sync.Mutex{}
		q.companies[company] = turn
	}
	q.mu.Unlock()
	turn.Lock()
	q.slot.Lock()
	next := sync.OnceFunc(func() {
		q.slot.Unlock()
		turn.Unlock()
	})
	over := time.AfterFunc(cmp.Or(q.max, maxIsolation), next)
	return func() {
		over.Stop()
		next()
	}
}
