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
// Companies take turns: a suspect waits for at most one suspect of each other company, and for at most max each. A
// suspect that runs longer, as a sync may for an hour, continues beside the next one. The zero value is ready to use.
type quarantine struct {
	max       time.Duration // of a suspect's isolation; 0: maxIsolation
	slot      sync.Mutex    // held by the suspect that runs isolated
	mu        sync.Mutex
	companies map[int64]*sync.Mutex // by company; held by its suspect that runs or is next
}

// maxIsolation is how long other suspects wait for one. A poison message usually crashes the process well within this
// time. A bystander is mistaken for it only if it is in flight during three consecutive crashes.
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
