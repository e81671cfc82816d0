package procore

import (
	"testing"
	"testing/synctest"
	"time"
)

// What Procore asked for stays; what a missing answer taught grows back, as one slow minute proves little.
func TestOnlyTheSizeOfASlowCallGrowsBack(t *testing.T) {
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
