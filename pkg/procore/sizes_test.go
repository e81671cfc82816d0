package procore

import (
	"testing"
	"testing/synctest"
	"time"
)

// A size that Procore asked for is kept. A size that was set because an answer was missing grows again.
func TestSizeOfSlowCallsGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k sizes
		k.keep(SyncVendors, *newSize(100, false))
		k.keep(SyncVendors, *newSize(250, true)) // never raised
		k.keep(SyncProjects, *newSize(100, true))
		for _, want := range []int{100, 200, 400, 800, 1000, 1000} {
			if got := k.of(SyncProjects); got != want {
				t.Errorf("slow: %d, want %d", got, want)
			}
			time.Sleep(growEvery)
		}
		if got := k.of(SyncVendors); got != 100 {
			t.Errorf("too large: %d, want 100", got)
		}
		if got := k.of(SyncSubJobs); got != MaxUpdates {
			t.Errorf("unknown: %d, want %d", got, MaxUpdates)
		}
	})
}
