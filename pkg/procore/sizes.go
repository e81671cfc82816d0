package procore

import (
	"sync"
	"time"
)

// sizes are how many updates Procore takes in a call of a route, where it has shown that it is fewer than MaxUpdates.
// The zero value is ready to use, by many goroutines.
type sizes struct {
	mu sync.Mutex
	by map[string]size // by route name
}

// size is what was learned of a route. One that Procore asked for stays. One that was learned from a missing answer
// doubles every growEvery, as Procore may only have been slow that day.
type size struct {
	updates int // at least 1
	slow    bool
	at      time.Time
}

const growEvery = 10 * time.Minute

func newSize(updates int, slow bool) *size { return &size{max(updates, 1), slow, time.Now()} }

func (s size) now() int {
	n := s.updates
	for age := time.Since(s.at); s.slow && age >= growEvery && n < MaxUpdates; age -= growEvery {
		n *= 2
	}
	return min(n, MaxUpdates)
}

// of is how many updates a call of the route may have.
func (k *sizes) of(r Route) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known, ok := k.by[r.Name]; ok {
		return known.now()
	}
	return MaxUpdates
}

// keep notes a size. A size that Procore asked for is never raised.
func (k *sizes) keep(r Route, s size) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.by == nil {
		k.by = map[string]size{}
	}
	if old, ok := k.by[r.Name]; ok && !old.slow && old.updates <= s.updates {
		return
	}
	k.by[r.Name] = s
}
