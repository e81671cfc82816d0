package audit

import (
	"testing"

	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// A button that nobody can say whose it is proves that the reading does not see all.
func TestAnOpenDetailOfNobodyIsNotAccountedFor(t *testing.T) {
	mine := &facts{timeline: &request.Timeline{Reports: []request.Report{{CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 5, Status: tiebackv1.Status_STATUS_SUCCESS}}}}}}
	rest := adopt(map[int64]*facts{1: mine}, []procore.Detail{{ID: 5, Status: "success"}, {ID: 6, Status: "success"}, {ID: 7, Status: "in_progress"}})
	if len(rest) != 1 || rest[0].ID != 7 || len(mine.procore.Details) != 1 || mine.procore.Details[0].ID != 5 {
		t.Errorf("left over %v, adopted %v", rest, mine.procore.Details)
	}
	for _, c := range []struct {
		odd     []string
		orphans []procore.Detail
		want    bool
	}{{want: true}, {orphans: rest}, {odd: []string{"a line that can't be read"}}} {
		r := Report{Accounted: true}
		r.unread(&erplog.Reader{Malformed: c.odd}, c.orphans)
		if r.Accounted != c.want {
			t.Errorf("%v, %v: accounted for: %v", c.odd, c.orphans, r.Accounted)
		}
	}
}
