package bus

import (
	"cmp"
	"sync"
	"time"
)

// suspects are messages at which several attempts in a row began and were never heard of
// again: they killed the process, or were beside one that did. One of them runs at a time in
// a process, whatever its consumer, beside any number of messages above suspicion. So each
// crash adds to the count of one suspect alone; a neighbour gets no further than being one.
//
// They take turns by company: one waits for one of each other company at most, and for none
// longer than a turn. What runs longer, as a sync may for an hour, goes on beside those that
// somebody waits for. The zero value is ready for use.
type quarantine struct {
	max       time.Duration // 0: aTurn
	slot      sync.Mutex    // held by the one that runs
	mu        sync.Mutex
	companies map[int64]*sync.Mutex // held by the company's one that runs or is next
}

// aTurn is how long a suspect has the process to itself. What kills does so sooner, as a rule; and
// who is beside it when it does must be so three times in a row to be taken for it.
const maxIsolation = time.Minute

// suspected is from how many unfinished attempts on a message is a suspect.
const quarantineAfter = 2

// alone waits until no other suspect has its turn, and returns what lets the next one.
func (s *quarantine) enter(company int64) (done func()) {
	s.mu.Lock()
	if s.companies == nil {
		s.companies = map[int64]*sync.Mutex{}
	}
	mine := s.companies[company]
	if mine == nil {
		mine = &sync.Mutex{}
		s.companies[company] = mine
	}
	s.mu.Unlock()
	mine.Lock()
	s.slot.Lock()
	next := sync.OnceFunc(func() {
		s.slot.Unlock()
		mine.Unlock()
	})
	over := time.AfterFunc(cmp.Or(s.max, maxIsolation), next)
	return func() {
		over.Stop()
		next()
	}
}
