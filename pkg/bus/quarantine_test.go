package bus

import (
	"testing"
	"time"
)

// began reports whether a suspect of a company is isolated within wait. The suspect then ends.
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

// A suspect is isolated for at most max. One that runs longer, as a sync may for an hour, does not delay the next.
func TestIsolationIsLimited(t *testing.T) {
	s := &quarantine{max: 200 * time.Millisecond}
	done := s.enter(1)
	if began(s, 2, 50*time.Millisecond) {
		t.Error("a second suspect began during the isolation of the first")
	}
	if !began(s, 2, 10*time.Second) || !began(s, 1, 10*time.Second) {
		t.Error("the next suspect did not begin after max")
	}
	done() // late
	done = s.enter(1)
	if began(s, 2, 50*time.Millisecond) {
		t.Error("the late end of a suspect ended the isolation of the next")
	}
	done()
	if !began(s, 2, 10*time.Second) {
		t.Error("the next suspect did not begin after the end of the first")
	}
}
