package connector

import (
	"context"
	"slices"
	"sync"
)

type bulkKey struct{}

// Bulk marks the calls of ctx as those of a bulk sync: an accountant's click goes before them.
func Bulk(ctx context.Context) context.Context { return context.WithValue(ctx, bulkKey{}, true) }

// slots are the calls that an ERP bears at once. Bulk calls leave one of them free, where
// there is more than one, and wait behind all others; but of ten that waited, one is theirs,
// so that a sync gets on beside any number of clicks.
type slots struct {
	mu      sync.Mutex
	free    int
	forBulk int           // of free, or of those taken: how many more bulk calls may run
	waiting [2][]*waiting // clicks, bulk calls
	clicks  int           // that went before waiting bulk calls, since one of those had its turn
}

type waiting struct{ turn chan struct{} }

// one bulk call in fair gets its turn before the clicks that wait.
const fair = 10

func newSlots(n int) *slots { return &slots{free: n, forBulk: max(1, n-1)} }

// acquire waits for a turn until ctx ends. What it returns gives the slot back.
func (s *slots) acquire(ctx context.Context) (release func(), err error) {
	bulk, _ := ctx.Value(bulkKey{}).(bool)
	queue := &s.waiting[0]
	if bulk {
		queue = &s.waiting[1]
	}
	w := &waiting{turn: make(chan struct{})}
	s.mu.Lock()
	*queue = append(*queue, w)
	s.serve()
	s.mu.Unlock()
	select {
	case <-w.turn:
		return func() { s.release(bulk) }, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(*queue, w)
	if i >= 0 {
		*queue = slices.Delete(*queue, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 { // its turn came just now
		s.release(bulk)
	}
	return nil, ctx.Err()
}

func (s *slots) release(bulk bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if bulk {
		s.forBulk++
	}
	s.serve()
}

// serve gives the free slots to those whose turn it is. The caller holds mu.
func (s *slots) serve() {
	for s.free > 0 {
		bulk := len(s.waiting[1]) > 0 && s.forBulk > 0
		switch {
		case bulk && (len(s.waiting[0]) == 0 || s.clicks >= fair-1):
			s.forBulk--
			s.clicks = 0
			s.next(&s.waiting[1])
		case len(s.waiting[0]) > 0:
			if bulk {
				s.clicks++
			}
			s.next(&s.waiting[0])
		default:
			return
		}
	}
}

func (s *slots) next(queue *[]*waiting) {
	s.free--
	close((*queue)[0].turn)
	(*queue)[0] = nil
	*queue = (*queue)[1:]
}
