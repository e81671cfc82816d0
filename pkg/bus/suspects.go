package bus

import "sync"

// suspects are messages at which several attempts in a row began and were never heard of
// again: they killed the process, or were beside one that did. One of them runs at a time in
// a process, whatever its consumer, beside any number of messages above suspicion. So each
// crash adds to the count of one suspect alone; a neighbour gets no further than being one.
//
// They take turns by company: one waits for one of each other company at most. The zero
// value is ready for use.
type suspects struct {
	one sync.Mutex // held by the one that runs
	mu  sync.Mutex
	of  map[int64]*sync.Mutex // held by the company's one that runs or is next
}

// suspected is from how many unfinished attempts on a message is a suspect.
const suspected = 2

// alone waits until no other suspect runs, and returns what lets the next one.
func (s *suspects) alone(company int64) (done func()) {
	s.mu.Lock()
	if s.of == nil {
		s.of = map[int64]*sync.Mutex{}
	}
	mine := s.of[company]
	if mine == nil {
		mine = &sync.Mutex{}
		s.of[company] = mine
	}
	s.mu.Unlock()
	mine.Lock()
	s.one.Lock()
	return func() {
		s.one.Unlock()
		mine.Unlock()
	}
}
