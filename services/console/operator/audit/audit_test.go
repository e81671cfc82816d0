package audit

import (
	"testing"

	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// An open request detail without an ERP request shows that the audit does not see everything.
func TestOpenDetailWithoutRequestIsNotAccountedFor(t *testing.T) {
	mine := &facts{timeline: &request.Timeline{Reports: []request.Report{{CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 5, Status: tiebackv1.Status_STATUS_SUCCESS}}}}}}
	rest := assign(map[int64]*facts{1: mine}, []procore.Detail{{ID: 5, Status: "success"}, {ID: 6, Status: "success"}, {ID: 7, Status: "in_progress"}})
	if len(rest) != 1 || rest[0].ID != 7 || len(mine.procore.Details) != 1 || mine.procore.Details[0].ID != 5 {
		t.Errorf("left over %v, assigned %v", rest, mine.procore.Details)
	}
	for _, c := range []struct {
		malformed []string
		orphans   []procore.Detail
		want      bool
	}{{want: true}, {orphans: rest}, {malformed: []string{"a line that can't be read"}}} {
		r := report{&operatorv1.AuditResponse{AccountedFor: true}}
		r.checkUnread(c.malformed, c.orphans)
		if r.AccountedFor != c.want {
			t.Errorf("%v, %v: accounted for: %v", c.malformed, c.orphans, r.AccountedFor)
		}
	}
}
