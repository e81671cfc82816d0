package connector

import (
	"context"
	"slices"
	"sync"
)

type bulkKey struct{}

// Bulk marks the calls of ctx as those of a bulk sync. Interactive calls go before them.
func Bulk(ctx context.Context) context.Context { return context.WithValue(ctx, bulkKey{}, true) }

// semaphore limits the concurrent calls to an ERP. Bulk calls leave one slot free, if there is more than one,
// and interactive calls go first. After nine of them have overtaken a waiting bulk call, one bulk call goes
// first, so that a sync makes progress under any interactive load.
type semaphore struct {
	mu      sync.Mutex
	free    int
	forBulk int           // how many more bulk calls may start
	waiting [2][]*waiting // interactive calls, bulk calls
	// overtook counts the interactive calls that overtook a waiting bulk call since the last bulk call started.
	overtook int
}

type waiting struct{ ready chan struct{} }

// fair is the share of bulk calls: while both kinds wait, one of fair calls is a bulk call.
const fair = 10

func newSemaphore(n int) *semaphore { return &semaphore{free: n, forBulk: max(1, n-1)} }

// acquire waits for a slot until ctx ends. release frees the slot.
func (s *semaphore) acquire(ctx context.Context) (release func(), err error) {
	bulk, _ := ctx.Value(bulkKey{}).(bool)
	queue := &s.waiting[0]
	if bulk {
		queue = &s.waiting[1]
	}
	w := &waiting{ready: make(chan struct{})}
	s.mu.Lock()
	*queue = append(*queue, w)
	s.serve()
	s.mu.Unlock()
	select {
	case <-w.ready:
		return func() { s.release(bulk) }, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(*queue, w)
	if i >= 0 {
		*queue = slices.Delete(*queue, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 { // it got a slot just now
		s.release(bulk)
	}
	return nil, ctx.Err()
}

func (s *semaphore) release(bulk bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if bulk {
		s.forBulk++
	}
	s.serve()
}

// serve gives free slots to waiting calls. The caller holds mu.
func (s *semaphore) serve() {
	for s.free > 0 {
		bulk := len(s.waiting[1]) > 0 && s.forBulk > 0
		switch {
		case bulk && (len(s.waiting[0]) == 0 || s.overtook >= fair-1):
			s.forBulk--
			s.overtook = 0
			s.next(&s.waiting[1])
		case len(s.waiting[0]) > 0:
			if bulk {
				s.overtook++
			}
			s.next(&s.waiting[0])
		default:
			return
		}
	}
}

func (s *semaphore) next(queue *[]*waiting) {
	s.free--
	close((*queue)[0].ready)
	(*queue)[0] = nil
	*queue = (*queue)[1:]
}
