package request

import (
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) Position { return Position{At: now.Add(-d), Sequence: 1} }

func closeOuts(detail int64, s tiebackv1.Status) []*tiebackv1.CloseOut {
	return []*tiebackv1.CloseOut{{RequestDetailId: detail, Status: s}}
}

const (
	good = tiebackv1.Status_STATUS_SUCCESS
	bad  = tiebackv1.Status_STATUS_FAILED
)

// run is a run and its report.
type run struct {
	Delivery, Event, Outcome, Late, Closed Position
	CloseOuts                              []*tiebackv1.CloseOut
	SkipReason                             string
	Dead                                   bool
}

// timelineOf returns a timeline of runs.
func timelineOf(runs map[string]*run, deadLetters []DeadLetter) *Timeline {
	t := &Timeline{Request: 9, Type: "create_vendor", DeadLetters: deadLetters}
	for name, r := range runs {
		t.Runs = append(t.Runs, &Run{Name: name, Type: "create_vendor", Delivery: r.Delivery, Event: r.Event, Outcome: r.Outcome, Late: r.Late, userWaits: true})
		if r.Closed.exists() {
			t.Reports = append(t.Reports, Report{Position: r.Closed, Run: name, Type: "create_vendor", CloseOuts: r.CloseOuts, SkipReason: r.SkipReason, DeadLettered: r.Dead})
		}
	}
	return t
}

func deadLetter(stage, run string) DeadLetter {
	return DeadLetter{ID: 1, At: now.Add(-time.Hour), Run: run, State: StateUnresolved, eventType: "create_vendor", DeadLetter: &tiebackv1.DeadLetter{Stage: stage, Error: "boom"}}
}

func discarded(d DeadLetter) DeadLetter {
	d.State, d.Resolutions = StateDiscarded, []*tiebackv1.Resolution{{Action: tiebackv1.Action_ACTION_DISCARDED, Who: "ann"}}
	return d
}

func TestVerdict(t *testing.T) {
	open, final := []procore.Detail{{ID: 5, Status: "in_progress"}}, []procore.Detail{{ID: 5, Status: "failed"}}
	processed := run{Delivery: ago(time.Hour), Event: ago(time.Hour), Outcome: ago(time.Hour), Closed: ago(time.Hour)}
	with := func(all []*tiebackv1.CloseOut) *run { r := processed; r.CloseOuts = all; return &r }
	since := now.Add(-time.Hour).Truncate(time.Second)
	acme := &company.Company{Since: since}
	skipped := func(why string) *run { r := processed; r.SkipReason = why; return &r }
	for _, c := range []struct {
		name        string
		runs        map[string]*run
		deadLetters []DeadLetter
		details     []procore.Detail
		logged      string
		want        Class
		stage       string
	}{
		{name: "success", runs: map[string]*run{"": with(closeOuts(5, good))}, details: final, want: Success},
		{name: "without a detail", runs: map[string]*run{"": with(nil)}, logged: "ok", want: Success},
		{name: "refused by the ERP", runs: map[string]*run{"": with(closeOuts(5, bad))}, details: final, want: Failed},
		{name: "success that Procore refused", runs: map[string]*run{"": with([]*tiebackv1.CloseOut{{RequestDetailId: 5, Status: good, KeptStatus: "failed"}})}, details: final, want: Failed},
		{name: "dead and closed", runs: map[string]*run{"": with(closeOuts(5, bad))}, deadLetters: []DeadLetter{deadLetter("export", "")}, details: final, want: Dead},
		{name: "dead, and its dead letter is missing", runs: map[string]*run{"": {Event: ago(time.Hour), Closed: ago(time.Hour), Dead: true, CloseOuts: closeOuts(5, bad)}}, details: final, want: Lost},
		{name: "dead a moment ago, without a dead letter yet", runs: map[string]*run{"": {Event: ago(time.Hour), Closed: ago(time.Second), Dead: true, CloseOuts: closeOuts(5, bad)}}, details: final, want: Dead},
		{name: "dead, and not closed", runs: map[string]*run{"": with(nil)}, deadLetters: []DeadLetter{deadLetter("fetcher", "")}, details: open, want: Unclosed},
		{name: "dead, and the swept outcome is in progress", runs: map[string]*run{"": with(nil), "swept": {Outcome: ago(time.Minute)}}, deadLetters: []DeadLetter{deadLetter("fetcher", "")}, details: open, want: InProgress, stage: "status-reporter"},
		{name: "dead at the status-reporter", runs: map[string]*run{"": {Outcome: ago(time.Hour)}}, deadLetters: []DeadLetter{deadLetter("status-reporter", "")}, details: open, want: Unclosed},
		{name: "discarded", runs: map[string]*run{"": {Event: ago(time.Hour)}}, deadLetters: []DeadLetter{discarded(deadLetter("export", ""))}, want: Discarded},
		{name: "discarded, and the button busy", runs: map[string]*run{"": {Event: ago(time.Hour)}}, deadLetters: []DeadLetter{discarded(deadLetter("export", ""))}, details: open, want: Unclosed},
		{name: "closed in the streams, open in Procore", runs: map[string]*run{"": with(closeOuts(5, good))}, details: open, want: Mismatch},
		{name: "closed while Procore was read", runs: map[string]*run{"": {Outcome: ago(0), Closed: ago(-time.Second), CloseOuts: closeOuts(5, good)}}, details: open, want: Success},
		{name: "at the fetcher", runs: map[string]*run{"": {Delivery: ago(time.Minute)}}, details: open, want: InProgress, stage: "fetcher"},
		{name: "at its worker", runs: map[string]*run{"": {Delivery: ago(time.Minute), Event: ago(time.Minute)}}, details: open, want: InProgress, stage: "export"},
		{name: "at its worker for too long", runs: map[string]*run{"": {Event: ago(17 * time.Minute)}}, details: open, want: Overdue, stage: "export"},
		{name: "replayed, at its worker", runs: map[string]*run{"": with(nil), "1": {Event: ago(time.Minute)}}, deadLetters: []DeadLetter{deadLetter("export", "")}, details: open, want: InProgress, stage: "export"},
		{name: "late outcome in progress", runs: map[string]*run{"": {Event: ago(time.Hour), Outcome: ago(time.Hour), Closed: ago(time.Hour), Late: ago(time.Minute)}}, details: open, want: InProgress, stage: "status-reporter"},
		{name: "discarded by Procore", logged: "discarded", want: Missed},
		{name: "an open detail, no delivery", details: open, want: Missed},
		{name: "older than since", details: []procore.Detail{{ID: 5, Status: "in_progress", Created: since.Add(-time.Second)}}, want: Older},
		{name: "in the second of since", details: []procore.Detail{{ID: 5, Status: "in_progress", Created: since}}, want: Missed},
		{name: "not processed as older", runs: map[string]*run{"": skipped("older")}, details: open, want: Older},
		{name: "rejected, no delivery", details: []procore.Detail{{ID: 5, Status: "rejected"}}, logged: "discarded", want: CalledOff},
		{name: "stale, no delivery", details: []procore.Detail{{ID: 5, Status: "stale"}}, want: CalledOff},
		{name: "an unknown status, no delivery", details: []procore.Detail{{ID: 5, Status: "on_hold"}}, logged: "discarded", want: Unknown},
		{name: "no status", details: []procore.Detail{{ID: 5}}, want: Unknown},
		{name: "one rejected and one open", details: append([]procore.Detail{{ID: 6, Status: "rejected"}}, open...), want: Missed},
		{name: "not processed as rejected", runs: map[string]*run{"": skipped("rejected")}, details: []procore.Detail{{ID: 5, Status: "rejected"}}, want: CalledOff},
		{name: "not processed as rejected, open again", runs: map[string]*run{"": skipped("rejected")}, details: open, want: Mismatch},
		{name: "not processed for an unknown status", runs: map[string]*run{"": skipped("on_hold")}, want: Unknown},
		{name: "booked, and rejected", runs: map[string]*run{"": with(closeOuts(5, good))}, details: []procore.Detail{{ID: 5, Status: "rejected"}}, want: Mismatch},
		{name: "failed, and rejected", runs: map[string]*run{"": with(closeOuts(5, bad))}, details: []procore.Detail{{ID: 5, Status: "rejected"}}, want: Failed},
		{name: "closed by hand", details: final, logged: "discarded", want: Elsewhere},
	} {
		t.Run(c.name, func(t *testing.T) {
			var timeline *Timeline
			if c.runs != nil || c.deadLetters != nil {
				timeline = timelineOf(c.runs, c.deadLetters)
			}
			rules := Rules{Deadlines: Deadlines{Interactive: 15 * time.Minute, Sync: 2 * time.Hour}, Company: acme}
			got := timeline.Verdict(rules, ProcoreLists{Details: c.details, DeliveryOutcome: c.logged}, now)
			if got.Class != c.want || got.At.Name != c.stage {
				t.Errorf("%s at %q, want %s at %q (%s)", got.Class, got.At.Name, c.want, c.stage, got.Why)
			}
		})
	}
}
