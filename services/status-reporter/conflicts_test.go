package statusreporter

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/status-reporter/internal/closeout"
)

// outcome returns an outcome with one close-out.
func outcome(request, detail int64, origin string) *queuedOutcome {
	c := &tiebackv1.CloseOut{RequestDetailId: detail}
	if origin == unlinkedOrigin {
		c.Unlinks = []*tiebackv1.Unlink{{ItemType: "vendor", ItemId: 5}}
	} else {
		c.Marks = []*tiebackv1.Mark{{ItemType: "vendor", ItemId: 5, OriginId: origin}}
	}
	return &queuedOutcome{Item: closeout.Item{Outcome: &tiebackv1.Outcome{ErpRequestId: request, CloseOuts: []*tiebackv1.CloseOut{c}}}}
}

// at sets the time of w's request to some microseconds after a full second.
func at(micros int, w *queuedOutcome) *queuedOutcome {
	w.Outcome.RequestedAt = timestamppb.New(time.Date(2026, 12, 1, 10, 0, 0, micros*int(time.Microsecond), time.UTC))
	return w
}

// A batch has no conflicting updates of a record or request detail; equal updates share a batch.
func TestConflictFree(t *testing.T) {
	for _, c := range []struct {
		name  string
		batch []*queuedOutcome
		want  string // requests by batch
	}{
		{"others", []*queuedOutcome{outcome(1, 1, "V"), {Item: closeout.Item{Outcome: &tiebackv1.Outcome{ErpRequestId: 2}}}}, "[[1 2]]"},
		{"the same", []*queuedOutcome{outcome(2, 2, "V"), outcome(1, 1, "V")}, "[[1 2]]"},
		{"another origin", []*queuedOutcome{outcome(2, 2, "B"), outcome(1, 1, "A"), outcome(3, 3, "B")}, "[[1] [2 3]]"},
		{"unlinked, then exported again", []*queuedOutcome{outcome(12, 2, "V"), outcome(11, 1, unlinkedOrigin)}, "[[11] [12]]"},
		{"unlinked twice", []*queuedOutcome{outcome(11, 1, unlinkedOrigin), outcome(12, 2, unlinkedOrigin)}, "[[11] [12]]"},
		{"the older has the higher id", []*queuedOutcome{at(2, outcome(1, 1, "V")), at(1, outcome(2, 2, unlinkedOrigin))}, "[[2] [1]]"},
		{"the older has the lower id", []*queuedOutcome{at(2, outcome(2, 2, "V")), at(1, outcome(1, 1, unlinkedOrigin))}, "[[1] [2]]"},
		{"the id decides between equals", []*queuedOutcome{at(1, outcome(2, 2, "V")), at(1, outcome(1, 1, unlinkedOrigin))}, "[[1] [2]]"},
		{"two ends of one detail", []*queuedOutcome{outcome(1, 9, "V"), outcome(1, 9, "V")}, "[[1] [1]]"},
		{"without details", []*queuedOutcome{outcome(1, 0, "V"), outcome(2, 0, "V")}, "[[1 2]]"},
	} {
		var got [][]int64
		for _, batch := range conflictFree(c.batch) {
			var requests []int64
			for _, w := range batch {
				requests = append(requests, w.Outcome.ErpRequestId)
			}
			got = append(got, requests)
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

// A request detail becomes in progress before it ends, whichever report was queued first.
func TestInProgressIsReportedBeforeEnd(t *testing.T) {
	end, slow := outcome(1, 9, "V"), outcome(1, 9, "V")
	slow.inProgress = true
	if all := conflictFree([]*queuedOutcome{end, slow}); len(all) != 2 || all[0][0] != slow || all[1][0] != end {
		t.Errorf("%d batches, the end first: %v", len(all), all[0][0] == end)
	}
}
