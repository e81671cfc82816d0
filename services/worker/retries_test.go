package worker

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/state"
)

// A retry is sent once, even if the clock of the console is an hour behind or ahead of the worker's. One from before the start is
// not.
func TestRetriesOfOtherClocks(t *testing.T) {
	var mu sync.Mutex
	var stored []state.Retry
	ask := func(request int64, off time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		stored = append(stored, state.Retry{Company: 7, Request: request, At: time.Now().Add(off)})
	}
	read := func(context.Context) ([]state.Retry, error) {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(stored), nil
	}
	ask(1, 0)
	to := make(chan bus.Subject, 10)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() { followRetries(ctx, read, to, zap.NewNop()); close(ended) }()
	time.Sleep(pollPauses / 2)
	ask(2, -time.Hour)
	ask(3, time.Hour)
	ask(4, 0)
	time.Sleep(2 * pollPauses)
	stop()
	<-ended
	close(to)
	var got []int64
	for s := range to {
		got = append(got, s.Request)
	}
	if len(got) != 3 || got[0] != 2 || got[1] != 3 || got[2] != 4 {
		t.Errorf("requests %v are tried, want 2, 3 and 4", got)
	}
}
