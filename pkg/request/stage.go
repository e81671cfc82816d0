package request

import (
	"cmp"
	"slices"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
)

// The stages that are not named after a category.
const (
	Fetcher        = "fetcher"
	StatusReporter = "status-reporter"
)

// Stage is a stage that has not finished a message of a request.
type Stage struct {
	Name      string // also of its consumer; "": the request is at no stage
	Kind      bus.Kind
	Run       string // of the message's subject
	Position         // of the message
	userWaits bool
}

// Stage returns the current stage of the request. If several runs are at a stage, Stage returns the stage whose
// message was stored last.
func (t *Timeline) Stage() Stage {
	var last Stage
	for _, r := range t.Runs {
		if s := t.stageOf(r); s.Name != "" && !t.gaveUp(r, s.Name) && (last.Name == "" || s.At.After(last.At)) {
			last = s
		}
	}
	return last
}

func (t *Timeline) stageOf(r *Run) Stage {
	late := bus.Subject{Run: r.Name}.Late().Run
	row, _ := catalogue.Lookup(r.Type)
	switch {
	case r.Late.exists() && !t.reported(late, r.Type):
		return Stage{StatusReporter, bus.Outcome, late, r.Late, true}
	case r.Late.exists() || t.reported(r.Name, r.Type):
		return Stage{}
	case r.Type == catalogue.Unknown && t.reportedAnyType(r.Name):
		return Stage{} // it had an event, which the stream no longer has
	case r.Outcome.exists() && !t.refusedBeforeFetch(r):
		return Stage{StatusReporter, bus.Outcome, r.Name, r.Outcome, true}
	case r.Event.exists():
		return Stage{cmp.Or(string(row.Category), "worker"), bus.Event, r.Name, r.Event, r.userWaits}
	case r.Delivery.exists():
		return Stage{Fetcher, bus.Delivery, r.Name, r.Delivery, true}
	}
	return Stage{}
}

// refusedBeforeFetch reports whether the status-reporter dead-lettered the outcome of a run that has a delivery but no event.
// Such an outcome may not be the fetcher's, so the delivery stays at the fetcher until the fetcher publishes its event or
// dead-letters it.
func (t *Timeline) refusedBeforeFetch(r *Run) bool {
	return r.Delivery.exists() && !r.Event.exists() && t.gaveUp(r, StatusReporter)
}

// gaveUp reports whether a stage dead-lettered the message of a run.
func (t *Timeline) gaveUp(r *Run, stage string) bool {
	return slices.ContainsFunc(t.DeadLetters, func(d DeadLetter) bool { return d.Stage == stage && d.belongsTo(r) })
}

// belongsTo reports whether the message in the dead letter is one of the run's.
func (d DeadLetter) belongsTo(r *Run) bool { return baseRun(d.Run) == r.Name && d.eventType == r.Type }

// InProgress reports whether the request is at a stage.
func (t *Timeline) InProgress() bool { return t.Stage().Name != "" }

// Ended reports whether the request was closed or dead-lettered, and is at no stage. A request without messages has not ended,
// because a lagging replica may not have its messages yet.
func (t *Timeline) Ended() bool {
	return (len(t.Reports) > 0 || len(t.DeadLetters) > 0) && !t.InProgress()
}

// Skipped reports whether the request ended without being processed; see Report.SkipReason.
func (t *Timeline) Skipped() bool {
	last := t.Last()
	return last != nil && last.SkipReason != "" && !t.InProgress()
}
