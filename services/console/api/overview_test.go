package api

import (
	"testing"

	"github.com/tieback/tieback/services/console/operator/status"
)

// A caller of one company sees its own dead letters, and not of the others'.
func TestUnresolvedCountsVisibleCompanies(t *testing.T) {
	companies := []status.Company{{ID: 7, DeadLetters: 2}, {ID: 8, DeadLetters: 5}, {ID: 9}}
	for id, want := range map[int64]uint64{7: 2, 8: 5, 9: 0} {
		if got := unresolved(companies, func(c int64) bool { return c == id }); got.Count != want {
			t.Errorf("company %d: %d dead letters, want %d", id, got.Count, want)
		}
	}
}
