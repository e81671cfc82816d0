package sweep

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A detail that a request left open is closed as success only if the whole request succeeded and named no detail.
func TestCloseOutsOf(t *testing.T) {
	const good, bad = tiebackv1.Status_STATUS_SUCCESS, tiebackv1.Status_STATUS_FAILED
	reported := func(all ...*tiebackv1.CloseOut) *request.Timeline {
		return &request.Timeline{Reports: []request.Report{{CloseOuts: all}}}
	}
	deadLettered := func(stage, message string) *request.Timeline {
		return &request.Timeline{DeadLetters: []request.DeadLetter{{DeadLetter: &tiebackv1.DeadLetter{Stage: stage, Error: "token=secret", UserMessage: message}}}}
	}
	for _, c := range []struct {
		name     string
		timeline *request.Timeline
		details  []int64
		want     tiebackv1.Status
		message  string // part of it
	}{
		{"all done, no detail named", reported(&tiebackv1.CloseOut{Status: good}, &tiebackv1.CloseOut{Status: good}), []int64{5}, good, ""},
		{"all done, two details", reported(&tiebackv1.CloseOut{Status: good}), []int64{5, 6}, bad, "does not know"},
		{"another detail named", reported(&tiebackv1.CloseOut{Status: good, RequestDetailId: 4}), []int64{5}, bad, "does not know"},
		{"part failed", reported(&tiebackv1.CloseOut{Status: good}, &tiebackv1.CloseOut{Status: bad}), []int64{5}, bad, "does not know"},
		{"nothing reported", reported(), []int64{5}, bad, "does not know"},
		{"dead-lettered by the fetcher", deadLettered("fetcher", ""), []int64{5}, bad, "nothing was done"},
		{"dead-lettered by the fetcher, with a reason", deadLettered("fetcher", "Procore refused: gone."), []int64{5}, bad, "Procore refused: gone."},
		{"dead-lettered by its worker", deadLettered("export", "The vendor has no name."), []int64{5}, bad, "no name"},
	} {
		got := closeOutsOf(c.timeline, c.details)
		if len(got) != len(c.details) || got[0].Status != c.want || !strings.Contains(strings.Join(got[0].Messages, " "), c.message) || strings.Contains(got[0].String(), "secret") {
			t.Errorf("%s: %v", c.name, got)
		}
		if c.want == good && len(got[0].Messages) > 0 {
			t.Errorf("%s: success with a message: %v", c.name, got)
		}
	}
}

// A lagging replica may not have the messages of a request yet. Such a request has not ended.
func TestRequestThatIsNotInStreamsHasNotEnded(t *testing.T) {
	now := request.Position{At: time.Now(), Sequence: 1}
	delivered := []*request.Run{{Delivery: now}}
	closed := []request.Report{{Position: now}}
	for name, c := range map[string]struct {
		timeline request.Timeline
		want     bool
	}{
		"nothing":              {request.Timeline{}, false},
		"a delivery":           {request.Timeline{Runs: delivered}, false},
		"closed":               {request.Timeline{Runs: delivered, Reports: closed}, true},
		"closed, and replayed": {request.Timeline{Runs: []*request.Run{{Name: "7", Event: now}}, Reports: closed}, false},
		"dead-lettered":        {request.Timeline{Runs: delivered, DeadLetters: []request.DeadLetter{{DeadLetter: &tiebackv1.DeadLetter{Stage: "fetcher"}}}}, true},
	} {
		if got := c.timeline.Ended(); got != c.want {
			t.Errorf("%s: ended is %v", name, got)
		}
	}
}

// A stage writes the dead letter before it closes the request details. The sweep gives it time to do so.
func TestSweepWaitsForStageThatDeadLettered(t *testing.T) {
	for age, want := range map[time.Duration]bool{time.Second: true, 2 * time.Minute: false} {
		r := &companySweep{Service: &Service{Deps: Deps{Grace: time.Minute}}}
		timeline := &request.Timeline{DeadLetters: []request.DeadLetter{{At: time.Now().Add(-age)}}}
		if got := r.mayBeClosing(timeline); got != want {
			t.Errorf("dead-lettered %v ago: %v, want %v", age, got, want)
		}
	}
}
