package procore

import (
	"testing"
	"time"
)

// What the store has is read as of now: calls under way are taken off, a window that is over is whole.
func TestAStandingIsReadAsOfNow(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	raw := []byte(`{"hour":{"limit":3600,"left":3000,"ends":1800000600000},"spike":{"limit":25,"left":3,"ends":1799999990000},` +
		`"blocked":1800000005000,"asked":5000,"claims":{"a":{"calls":4,"until":1800000020000}}}`)
	s, err := ReadStanding(raw, 7, now)
	if err != nil {
		t.Fatal(err)
	}
	if s.Hour.Limit != 3600 || s.Hour.Remaining != 2996 || !s.Hour.Reset.Equal(now.Add(10*time.Minute)) {
		t.Errorf("the hour stands at %+v", s.Hour)
	}
	if s.Spike.Limit != 25 || s.Spike.Remaining != 21 || !s.Spike.Reset.IsZero() {
		t.Errorf("ten seconds stand at %+v", s.Spike)
	}
	if !s.Blocked.Equal(now.Add(5 * time.Second)) {
		t.Errorf("blocked until %v", s.Blocked)
	}
	if _, err := ReadStanding([]byte("nonsense"), 7, now); err == nil {
		t.Error("nonsense is read")
	}
}
