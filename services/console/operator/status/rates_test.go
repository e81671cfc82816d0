package status

import (
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// A reader that continues from its last reading counts what a new reader counts: after new messages, with more of them than
// MaxRecent, and with a longer window.
func TestReaderContinues(t *testing.T) {
	b := bustest.Connect(t)
	options := Options{MaxRecent: 6}
	reader := New(b, options)
	request := int64(0)
	publish := func(n int) {
		for range n {
			request++
			status := tiebackv1.Status_STATUS_SUCCESS
			if request%3 == 0 {
				status = tiebackv1.Status_STATUS_FAILED
			}
			o := &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: request, Type: "create_vendor", CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: request, Status: status}}}
			if err := b.PublishOnce(t.Context(), bus.For(bus.Closed, "create_vendor", 7, request), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, step := range []struct {
		publish int
		window  time.Duration
	}{{0, time.Minute}, {2, time.Minute}, {0, time.Minute}, {3, time.Minute}, {1, time.Hour}, {4, time.Minute}, {9, time.Hour}} {
		publish(step.publish)
		counts := func(r *Reader) (succeeded, failed uint64, notes int) {
			v, err := r.Read(t.Context(), step.window)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range v.Overview(nil).Companies {
				if c.Id == 7 {
					return c.Succeeded, c.Failed, len(v.notes)
				}
			}
			return 0, 0, len(v.notes)
		}
		ok, failed, notes := counts(reader)
		wantOK, wantFailed, wantNotes := counts(New(b, options))
		if ok != wantOK || failed != wantFailed || notes != wantNotes {
			t.Errorf("step %d: %d succeeded, %d failed, %d notes; a new reader has %d, %d and %d", i, ok, failed, notes, wantOK, wantFailed, wantNotes)
		}
		if i == 3 && (ok != 4 || failed != 1) {
			t.Errorf("of five requests %d succeeded and %d failed", ok, failed)
		}
	}
}
