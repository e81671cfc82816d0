package audit

import (
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore/erplog"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/deadline"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) Stop { return Stop{At: now.Add(-d), Sequence: 1} }

func told(detail int64, s tiebackv1.Status) []*tiebackv1.CloseOut {
	return []*tiebackv1.CloseOut{{RequestDetailId: detail, Status: s}}
}

const (
	good = tiebackv1.Status_STATUS_SUCCESS
	bad  = tiebackv1.Status_STATUS_FAILED
)

func letter(stop, run string) Letter {
	return Letter{Stop: ago(time.Hour), Run: run, DeadLetter: &tiebackv1.DeadLetter{Stop: stop, Error: "boom"}}
}

func discarded() map[uint64]*tiebackv1.Dealing {
	return map[uint64]*tiebackv1.Dealing{1: {Action: tiebackv1.Action_ACTION_DISCARDED, Who: "ann"}}
}

func TestHowARequestEndedIsJudgedByStreamsAndDetails(t *testing.T) {
	open, final := []erplog.Detail{{ID: 5, Status: "in_progress"}}, []erplog.Detail{{ID: 5, Status: "failed"}}
	worked := Run{Delivery: ago(time.Hour), Event: ago(time.Hour), Outcome: ago(time.Hour), Closed: ago(time.Hour)}
	with := func(told []*tiebackv1.CloseOut) *Run { r := worked; r.Told = told; return &r }
	since := now.Add(-time.Hour).Truncate(time.Second)
	ours := &company.Company{Since: since}
	left := func(why string) *Run { r := worked; r.Left = why; return &r }
	for _, c := range []struct {
		name    string
		runs    map[string]*Run
		letters []Letter
		dealt   map[uint64]*tiebackv1.Dealing
		details []erplog.Detail
		logged  string
		lost    bool
		want    Class
		stage   string
	}{
		{name: "success", runs: map[string]*Run{"": with(told(5, good))}, details: final, want: Success},
		{name: "without a detail", runs: map[string]*Run{"": with(nil)}, logged: "ok", want: Success},
		{name: "refused by the ERP", runs: map[string]*Run{"": with(told(5, bad))}, details: final, want: Failed},
		{name: "success that Procore would not take", runs: map[string]*Run{"": with([]*tiebackv1.CloseOut{{RequestDetailId: 5, Status: good, Stands: "failed"}})}, details: final, want: Failed},
		{name: "dead and closed", runs: map[string]*Run{"": with(told(5, bad))}, letters: []Letter{letter("export", "")}, details: final, want: Dead},
		{name: "dead, and its letter is gone", runs: map[string]*Run{"": {Event: ago(time.Hour), Closed: ago(time.Hour), Dead: true, Told: told(5, bad)}}, details: final, lost: true, want: Lost},
		{name: "dead without a word", runs: map[string]*Run{"": with(nil)}, letters: []Letter{letter("fetcher", "")}, details: open, want: Unclosed},
		{name: "dead, and the swept outcome is on its way", runs: map[string]*Run{"": with(nil), "swept": {Outcome: ago(time.Minute)}}, letters: []Letter{letter("fetcher", "")}, details: open, want: Working, stage: "status-reporter"},
		{name: "dead at the status-reporter", runs: map[string]*Run{"": {Outcome: ago(time.Hour)}}, letters: []Letter{letter("status-reporter", "")}, details: open, want: Unclosed},
		{name: "discarded", runs: map[string]*Run{"": {Event: ago(time.Hour)}}, letters: []Letter{letter("export", "")}, dealt: discarded(), want: Discarded},
		{name: "discarded, and the button busy", runs: map[string]*Run{"": {Event: ago(time.Hour)}}, letters: []Letter{letter("export", "")}, dealt: discarded(), details: open, want: Unclosed},
		{name: "closed here, open there", runs: map[string]*Run{"": with(told(5, good))}, details: open, want: Mismatch},
		{name: "closed while Procore was read", runs: map[string]*Run{"": {Outcome: ago(0), Closed: ago(-time.Second), Told: told(5, good)}}, details: open, want: Success},
		{name: "at the fetcher", runs: map[string]*Run{"": {Delivery: ago(time.Minute)}}, details: open, want: Working, stage: "fetcher"},
		{name: "at its worker", runs: map[string]*Run{"": {Delivery: ago(time.Minute), Event: ago(time.Minute)}}, details: open, want: Working, stage: "export"},
		{name: "at its worker for too long", runs: map[string]*Run{"": {Event: ago(17 * time.Minute)}}, details: open, want: Overdue, stage: "export"},
		{name: "replayed, at its worker", runs: map[string]*Run{"": with(nil), "1": {Event: ago(time.Minute)}}, letters: []Letter{letter("export", "")}, details: open, want: Working, stage: "export"},
		{name: "late outcome under way", runs: map[string]*Run{"": {Event: ago(time.Hour), Outcome: ago(time.Hour), Closed: ago(time.Hour), Late: ago(time.Minute)}}, details: open, want: Working, stage: "status-reporter"},
		{name: "discarded by Procore", logged: "discarded", want: Missed},
		{name: "an open detail, no delivery", details: open, want: Missed},
		{name: "older than since", details: []erplog.Detail{{ID: 5, Status: "in_progress", Created: since.Add(-time.Second)}}, want: Older},
		{name: "in the second of since", details: []erplog.Detail{{ID: 5, Status: "in_progress", Created: since}}, want: Missed},
		{name: "left alone as older", runs: map[string]*Run{"": left("older")}, details: open, want: Older},
		{name: "rejected, no delivery", details: []erplog.Detail{{ID: 5, Status: "rejected"}}, logged: "discarded", want: CalledOff},
		{name: "stale, no delivery", details: []erplog.Detail{{ID: 5, Status: "stale"}}, want: CalledOff},
		{name: "an unknown status, no delivery", details: []erplog.Detail{{ID: 5, Status: "on_hold"}}, logged: "discarded", want: Unknown},
		{name: "no status", details: []erplog.Detail{{ID: 5}}, want: Unknown},
		{name: "one rejected and one open", details: append([]erplog.Detail{{ID: 6, Status: "rejected"}}, open...), want: Missed},
		{name: "left alone as rejected", runs: map[string]*Run{"": left("rejected")}, details: []erplog.Detail{{ID: 5, Status: "rejected"}}, want: CalledOff},
		{name: "left alone as rejected, open again", runs: map[string]*Run{"": left("rejected")}, details: open, want: Mismatch},
		{name: "left alone for an unknown status", runs: map[string]*Run{"": left("on_hold")}, want: Unknown},
		{name: "booked, and rejected", runs: map[string]*Run{"": with(told(5, good))}, details: []erplog.Detail{{ID: 5, Status: "rejected"}}, want: Mismatch},
		{name: "failed, and rejected", runs: map[string]*Run{"": with(told(5, bad))}, details: []erplog.Detail{{ID: 5, Status: "rejected"}}, want: Failed},
		{name: "closed by hand", details: final, logged: "discarded", want: Elsewhere},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := facts{details: c.details, logged: c.logged, lost: c.lost, now: now, ours: ours, limits: deadline.Limits{Interactive: 15 * time.Minute, Sync: 2 * time.Hour}}
			if c.runs != nil || c.letters != nil {
				f.trace = &Trace{Request: 9, Type: "create_vendor", Runs: c.runs, Letters: c.letters, Dealt: c.dealt}
			}
			got := judge(9, f)
			if got.Class != c.want || got.Stage != c.stage {
				t.Errorf("%s at %q, want %s at %q (%s)", got.Class, got.Stage, c.want, c.stage, got.Why)
			}
		})
	}
}

// A button that nobody can say whose it is proves that the reading does not see all.
func TestAnOpenDetailOfNobodyIsNotAccountedFor(t *testing.T) {
	mine := &facts{trace: &Trace{Runs: map[string]*Run{"": {Told: told(5, good)}}}}
	rest := adopt(map[int64]*facts{1: mine}, []erplog.Detail{{ID: 5, Status: "success"}, {ID: 6, Status: "success"}, {ID: 7, Status: "in_progress"}})
	if len(rest) != 1 || rest[0].ID != 7 || len(mine.details) != 1 || mine.details[0].ID != 5 {
		t.Errorf("left over %v, adopted %v", rest, mine.details)
	}
	for _, c := range []struct {
		odd     []string
		orphans []erplog.Detail
		want    bool
	}{{want: true}, {orphans: rest}, {odd: []string{"a line that can't be read"}}} {
		r := Report{Accounted: true}
		r.unread(&erplog.Reader{Odd: c.odd}, c.orphans)
		if r.Accounted != c.want {
			t.Errorf("%v, %v: accounted for: %v", c.odd, c.orphans, r.Accounted)
		}
	}
}
