package command

import (
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Time{
		"2h": now.Add(-2 * time.Hour), "0s": now, "2026-11-25T08:00:00+01:00": time.Date(2026, 11, 25, 7, 0, 0, 0, time.UTC), "2026-11-25": now.Add(-12 * time.Hour),
	} {
		if got, err := Time("since", value, now); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v; want %v", value, got, err, want)
		}
	}
	for _, value := range []string{"", "-2h", "today"} {
		if got, err := Time("since", value, now); err == nil {
			t.Errorf("%q is accepted as %v", value, got)
		}
	}
}
