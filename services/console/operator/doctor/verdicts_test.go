package doctor

import (
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// level returns the level of the worst finding that a check adds.
func level(check func(r *findings)) Level {
	r := &findings{}
	check(r)
	return newReport(r.all).Worst()
}

// A limit is a warning from three quarters on, and a problem from nine tenths on, where ingest answers 503.
func TestLimitVerdicts(t *testing.T) {
	for used, want := range map[uint64]Level{0: OK, 749: OK, 750: Warning, 899: Warning, 900: Problem, 1000: Problem, 1100: Problem} {
		if got := level(func(r *findings) { checkLimit(r, "the streams use", used, 1000, "the limit") }); got != want {
			t.Errorf("%d of 1000 bytes: %s, want %s", used, got, want)
		}
	}
}

// Clocks may differ by the time that the call takes and 5 s more.
func TestClockVerdicts(t *testing.T) {
	began := time.Now().Add(-2 * time.Second) // the call has taken 2 s
	for _, c := range []struct {
		off  time.Duration // from began
		want Level
	}{{0, OK}, {time.Second, OK}, {-4 * time.Second, OK}, {-6 * time.Second, Warning}, {6 * time.Second, OK}, {9 * time.Second, Warning}, {-time.Hour, Warning}} {
		if got := level(func(r *findings) { (&Doctor{}).clock(r, "broker clock", "the broker's", began.Add(c.off), began, "") }); got != c.want {
			t.Errorf("%v: %s, want %s", c.off, got, c.want)
		}
	}
	if got := level(func(r *findings) { (&Doctor{}).clock(r, "broker clock", "", time.Time{}, began, "") }); got != OK {
		t.Errorf("an unknown clock: %s", got)
	}
}

// A since in the future is a problem: until then, nothing is processed.
func TestSinceVerdicts(t *testing.T) {
	for _, c := range []struct {
		since time.Time
		want  Level
	}{{time.Time{}, OK}, {time.Now().Add(-time.Hour), OK}, {time.Now().Add(time.Hour), Problem}} {
		if got := level(func(r *findings) { checkSince(r, &company.Company{Since: c.since}) }); got != c.want {
			t.Errorf("since %v: %s, want %s", c.since, got, c.want)
		}
	}
}

func TestReportSummary(t *testing.T) {
	r := newReport([]Finding{{Level: OK}, {Level: Warning}, {Level: Problem}, {Level: OK}})
	if got := r.Summary(); got != "2 ok, 1 warnings, 1 problems." || r.Worst() != Problem {
		t.Errorf("%s, worst %s", got, r.Worst())
	}
}
