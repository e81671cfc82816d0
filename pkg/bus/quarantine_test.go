package bus

import (
	"testing"
	"time"
)

// began says whether a suspect of a company gets its turn within wait, and ends it.
func began(s *quarantine, company int64, wait time.Duration) bool {
	turn := make(chan func(), 1)
	go func() { turn <- s.enter(company) }()
	select {
	case done := <-turn:
		done()
		return true
	case <-time.After(wait):
		go func() { (<-turn)() }()
		return false
	}
}

// A suspect sync that pages for an hour does not keep those waiting that somebody has clicked.
func TestASuspectHasTheProcessToItselfForATurnAndNoLonger(t *testing.T) {
	s := &quarantine{max: 200 * time.Millisecond}
	done := s.enter(1)
	if began(s, 2, 50*time.Millisecond) {
		t.Error("another began at once")
	}
	if !began(s, 2, 10*time.Second) || !began(s, 1, 10*time.Second) {
		t.Error("another did not begin after a turn")
	}
	done() // late
	done = s.enter(1)
	if began(s, 2, 50*time.Millisecond) {
		t.Error("whose turn was over has ended that of the next")
	}
	done()
	if !began(s, 2, 10*time.Second) {
		t.Error("another did not begin once it had ended")
	}
}
