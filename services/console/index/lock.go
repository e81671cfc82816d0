package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/localfile"
)

// ErrInUse is the reason for which Open waits while another process has the index open.
var ErrInUse = errors.New("another process has the index open, usually the console that this one replaces: this one continues when that one has stopped")

// lockEvery is the interval in which a waiting process tries again.
const lockEvery = 100 * time.Millisecond

// lock locks a file, and waits until ctx ends while another process has it locked. The lock ends when the file is closed, or with
// the process.
func lock(ctx context.Context, path string, o Options) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	waits := false
	for {
		locked, err := localfile.Lock(f, true)
		switch {
		case locked:
			if waits {
				o.Log.Info("the other process has closed the index", zap.String("lock", path))
				o.Waiting(nil)
			}
			return f, nil
		case err != nil:
			_ = f.Close() // err is the cause
			return nil, fmt.Errorf("%s can't be locked; network drives may not support locks: set TIEBACK_DATA to a local directory: %w", path, err)
		case !waits:
			waits = true
			o.Log.Warn("waiting for the index", zap.String("lock", path), zap.Error(ErrInUse))
			o.Waiting(ErrInUse)
		}
		select {
		case <-ctx.Done():
			_ = f.Close() // ErrInUse is the cause
			return nil, fmt.Errorf("%w: %w", ErrInUse, ctx.Err())
		case <-time.After(lockEvery):
		}
	}
}
