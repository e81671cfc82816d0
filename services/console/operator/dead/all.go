package dead

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Result is the result of resolving one dead letter of several.
type Result struct {
	ID         uint64
	Resolution Resolution
	Err        error // the resolution is missing or incomplete; a second call completes it
}

// concurrency is how many dead letters are resolved at once. Their writes share commits.
const concurrency = 128

// ResolveAll calls resolve for each dead letter, concurrently, and report with each result, one call at a time.
// After ctx ends, the remaining dead letters have ctx's error.
func ResolveAll(ctx context.Context, ids []uint64, resolve func(context.Context, uint64) (Resolution, error), report func(Result)) {
	var g errgroup.Group
	var mu sync.Mutex
	g.SetLimit(concurrency)
	for _, id := range ids {
		g.Go(func() error {
			r := Result{ID: id, Err: ctx.Err()}
			if r.Err == nil {
				r.Resolution, r.Err = resolve(ctx, id)
			}
			mu.Lock()
			defer mu.Unlock()
			report(r)
			return nil
		})
	}
	_ = g.Wait() // report has received the errors
}
