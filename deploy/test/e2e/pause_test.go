package endtoend

import (
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/state"
)

// A paused company's exports wait, other companies and stages go on, and after the pause the exports succeed.
func TestAPausedStageWaitsAndLosesNothing(t *testing.T) {
	t.Parallel()
	const second = firstCompany + 1
	w := newWorld(t, setup{companies: 2})
	l := w.run()
	memory := state.Of(l.Bus)
	w.must(memory.Pause(t.Context(), state.Pause{Company: firstCompany, Stage: "export", Who: "test", Reason: "the ERP is being upgraded", At: time.Now()}))
	time.Sleep(3 * time.Second) // the worker reads the pauses every 2 s

	waiting := w.press("create_vendor")
	w.succeeded(w.pressIn(second, "create_vendor", nil))
	w.succeeded(w.press("sync_vendors"))
	if found, err := l.Bus.Has(t.Context(), bus.Any(bus.Outcome, firstCompany, waiting)); err != nil || found {
		t.Fatalf("the export of the paused company was processed (%v)", err)
	}

	w.must(memory.Resume(t.Context(), firstCompany, "export"))
	w.succeeded(waiting)
	if all, err := memory.Pauses(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("pauses after resuming: %v (%v)", all, err)
	}
}
