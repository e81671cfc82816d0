package procore

import (
	"sync"
	"time"
)

// sizes has the routes for which Procore accepts fewer than MaxUpdates updates per call.
// The zero value is ready to use. All methods may be called concurrently.
type sizes struct {
	mu sync.Mutex
	by map[string]size // by route name
}

// size is the number of updates per call of a route. One that Procore asked for is permanent. One that was set because an
// answer was missing doubles every growEvery, as Procore may have been slow only for a while.
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

// of returns how many updates a call of the route may have.
func (k *sizes) of(r Route) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known, ok := k.by[r.Name]; ok {
		return known.now()
	}
	return MaxUpdates
}

// keep stores a size. A size that Procore asked for is never raised.
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
