package closeout_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/status-reporter/internal/closeout"
)

// finalAt is a Procore whose request detail 1001 has a final status.
func finalAt(status string) func(string, map[string]any) (int, string) {
	return func(call string, _ map[string]any) (int, string) {
		switch {
		case call == details:
			return http.StatusOK, `{"entities":[],"errors":[{"id":1001,"errors":{"status":["is already ` + status + `"]}}]}`
		case strings.HasPrefix(call, "GET"):
			return http.StatusOK, `{"id":1001,"status":"` + status + `"}`
		}
		return http.StatusOK, ""
	}
}

// If Procore refuses to change a final status, the final status is recorded if MayBeFinal is set, ignored if it is the reported
// status, and an error otherwise.
func TestKeptStatus(t *testing.T) {
	for _, c := range []struct {
		name       string
		status     tiebackv1.Status
		mayBeFinal bool
		at         string // current status in Procore
		kept       string
		fails      bool
	}{
		{"a redelivery finds its own success", tiebackv1.Status_STATUS_SUCCESS, false, "success", "", false},
		{"in progress after a final status", tiebackv1.Status_STATUS_IN_PROGRESS, false, "failed", "", false},
		{"a replay succeeds after the failure was reported", tiebackv1.Status_STATUS_SUCCESS, true, "failed", "failed", false},
		{"a replay fails after success was reported", tiebackv1.Status_STATUS_FAILED, true, "success", "success", false},
		{"a first run finds another final status", tiebackv1.Status_STATUS_SUCCESS, false, "failed", "", true},
		{"a replay finds an open detail", tiebackv1.Status_STATUS_SUCCESS, true, "in_progress", "", true},
	} {
		o := vendor(1)
		o.CloseOuts[0].Status, o.CloseOuts[0].Marks = c.status, nil
		p := newFake(t, finalAt(c.at))
		r := closeout.Report(t.Context(), p.Session, []closeout.Item{{Outcome: o, MayBeFinal: c.mayBeFinal}}, noLinks)[0]
		err, kept := r.Err, r.Reported.CloseOuts[0].KeptStatus
		if (err != nil) != c.fails || c.fails && fault.ClassOf(err) != fault.Permanent || kept != c.kept {
			t.Errorf("%s: error %v, kept status %q", c.name, err, kept)
		}
	}
}

// If one report has both, the final status wins in either order.
func TestFinalStatusOutranksInProgress(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		reported := map[string]string{}
		p := newFake(t, statuses(reported))
		ended, slow := vendor(1), vendor(1)
		slow.CloseOuts[0].Status, slow.CloseOuts[0].Messages, slow.CloseOuts[0].Marks = tiebackv1.Status_STATUS_IN_PROGRESS, []string{"Wait."}, nil
		both := []*tiebackv1.Outcome{slow, ended}
		if reversed {
			slices.Reverse(both)
		}
		for _, r := range report(t, p, both) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		if reported["1001"] != "success[]" {
			t.Errorf("reversed %v: reported %q", reversed, reported["1001"])
		}
	}
}
