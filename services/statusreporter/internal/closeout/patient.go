package closeout

import (
	"context"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
)

// shortWait is the longest wait for the rate limit that is waited out in place: the spike
// window's ten seconds, and what a clock may be off.
const shortWait = 15 * time.Second

// maxWaits bounds the waits of one call, in case the limit never lets it through.
const maxWaits = 20

// patient is a session that waits out short limits.
type patient struct{ *procore.Session }

// Do is procore.Session.Do.
func (p patient) Do(ctx context.Context, c procore.Call) ([]byte, error) {
	var answer []byte
	err := wait(ctx, func() (err error) { answer, err = p.Session.Do(ctx, c); return err })
	return answer, err
}

// Sync is procore.Session.Sync, each call with a patience of its own.
func (p patient) Sync(ctx context.Context, c procore.SyncCall) (procore.SyncResult, error) {
	return p.SyncBy(ctx, c, p.Do)
}

func wait(ctx context.Context, call func() error) error {
	for range maxWaits {
		err := call()
		after := fault.RetryAfter(err)
		if fault.ClassOf(err) != fault.Throttled || err == nil || after > shortWait {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(after + 50*time.Millisecond):
		}
	}
	return call()
}
