package bustest_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/procore"
)

func openQuota(t *testing.T, b *bus.Bus) procore.Store {
	t.Helper()
	q, err := b.OpenQuota(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// Of several swaps of the same revision one succeeds, and the others return false.
func TestConcurrentSwaps(t *testing.T) {
	t.Parallel()
	q := openQuota(t, bustest.Connect(t))
	if value, revision, err := q.Read(t.Context(), "7"); value != nil || revision != 0 || err != nil {
		t.Fatalf("%q at %d, %v, in an empty bucket", value, revision, err)
	}
	for round := range 10 {
		_, revision, err := q.Read(t.Context(), "7")
		if err != nil {
			t.Fatal(err)
		}
		var won atomic.Int64
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				next, ok, err := q.Swap(t.Context(), "7", fmt.Append(nil, i), revision)
				if err != nil || ok && next <= revision {
					t.Errorf("%d, %v", next, err)
				}
				if ok {
					won.Add(1)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("round %d: %d swaps succeeded", round, won.Load())
		}
	}
}
