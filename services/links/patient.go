package links

import (
	"context"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
)

// tries is how often a page is asked for before Procore counts as out of reach: 1, 2, 4, 8
// and 16 seconds lie between them. Waiting for a rate limit is no try.
const tries = 6

// patient reads a list to its end. What the errors demand is waited for, and the page asked again.
func (r *reader) patient(ctx context.Context, call procore.Call, take func(map[string]any) error) error {
	if err := r.share(ctx); err != nil {
		return err
	}
	failed := 0
	for item, err := range r.session.List(ctx, call) {
		switch {
		case err == nil:
			failed, err = 0, take(item)
		case ctx.Err() != nil:
			err = ctx.Err()
		case fault.ClassOf(err) == fault.Throttled:
			err = r.wait(ctx, fault.RetryAfter(err), err.Error())
		case fault.ClassOf(err) != fault.Permanent && failed < tries-1:
			err = r.wait(ctx, time.Second<<failed, err.Error())
			failed++
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// share waits for the rate limit's reset once half of it is used up: the other half is the
// services', who have users waiting.
func (r *reader) share(ctx context.Context) error {
	q, known := r.session.Quota()
	if !known || q.Remaining > q.Limit/2 {
		return nil
	}
	return r.wait(ctx, time.Until(q.Reset), "half of Procore's rate limit is used up; the rest is left to the services")
}

func (r *reader) wait(ctx context.Context, d time.Duration, why string) error {
	d = max(d, 0)
	if r.Waiting != nil {
		r.Waiting(d, why)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
