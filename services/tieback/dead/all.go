package dead

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Result is what became of one letter of many.
type Result struct {
	ID    uint64
	Dealt Dealt
	Err   error // nothing was done, or not all of it: doing it again does the rest
}

// atOnce is how many letters are dealt with at once; their writes share commits.
const atOnce = 128

// Many deals with many letters at once, and tells of each as it is done, one after the other.
// What ctx ends before its turn has ctx's error.
func Many(ctx context.Context, ids []uint64, deal func(context.Context, uint64) (Dealt, error), tell func(Result)) {
	var g errgroup.Group
	var mu sync.Mutex
	g.SetLimit(atOnce)
	for _, id := range ids {
		g.Go(func() error {
			r := Result{ID: id, Err: ctx.Err()}
			if r.Err == nil {
				r.Dealt, r.Err = deal(ctx, id)
			}
			mu.Lock()
			defer mu.Unlock()
			tell(r)
			return nil
		})
	}
	_ = g.Wait() // each error is told
}
