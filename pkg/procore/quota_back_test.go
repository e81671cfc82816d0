package procore

import "testing"

// Found by chaos (seed 1003): a 503 asked for a second while Procore's clock was 95 s ahead; when
// the clock went back, nobody called for 95 s.
func TestABlockOutlivesNoClockThatGoesBack(t *testing.T) {
	const now, ahead = 1_000_000_000, 95_000
	l := &limits{}
	l.end(end{refused: true, retry: 1000}, mark{}, now+ahead)
	l.tidy(now+ahead+10, "me")
	if w := l.wait(now+ahead+10, 0, 0); w != 990 {
		t.Errorf("blocked for %d ms, want 990", w)
	}
	l.tidy(now, "me")
	if w := l.wait(now, 0, 0); w > 1000 {
		t.Errorf("blocked for %d ms after the clock went back, want what was asked", w)
	}
}

func TestAWindowOutlivesNoClockThatGoesBack(t *testing.T) {
	const now, ahead = 1_000_000_000, 30_000
	w := window{Limit: 25, Left: 0, Ends: now + ahead + 8000}
	w.roll(now, spike)
	if wait := w.wait(now, 0, 0); wait > spike {
		t.Errorf("the window of ten seconds is waited for %d ms", wait)
	}
}
