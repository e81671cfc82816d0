package payload

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// ok and no return the close-out of a booked and of a refused record. Marks and messages identify the record.
func ok(detail, item int64) *tiebackv1.CloseOut {
	return &tiebackv1.CloseOut{RequestDetailId: detail, Status: tiebackv1.Status_STATUS_SUCCESS, Record: fmt.Sprint(item), Marks: []*tiebackv1.Mark{{ItemId: item}}}
}

func no(detail, item int64) *tiebackv1.CloseOut {
	return &tiebackv1.CloseOut{RequestDetailId: detail, Status: tiebackv1.Status_STATUS_FAILED, Record: fmt.Sprint(item), Messages: []string{fmt.Sprint("no ", item)}}
}

func TestSettle(t *testing.T) {
	const none, event = `{}`, `{"request_data":{"request_detail_id":5}}`
	for _, tt := range []struct {
		why, payload string
		records      []*tiebackv1.CloseOut
		want         string // detail status marks messages
	}{
		{"one record with the event's detail", event, []*tiebackv1.CloseOut{ok(0, 1)}, "5+[1][]"},
		{"all share the event's detail", event, []*tiebackv1.CloseOut{ok(0, 1), ok(0, 2)}, "5+[1 2][]"},
		{"one refused: the other keeps its mark", event, []*tiebackv1.CloseOut{ok(0, 1), no(0, 2)}, "0+[1][] 5-[][no 2]"},
		{"all are refused", event, []*tiebackv1.CloseOut{no(0, 1), no(0, 2)}, "5-[][no 1 no 2]"},
		{"no detail: each record has its own close-out", none, []*tiebackv1.CloseOut{ok(0, 1), no(0, 2)}, "0+[1][] 0-[][no 2]"},
		{"details of their own", `[{"request_detail_id":1},{"request_detail_id":2}]`, []*tiebackv1.CloseOut{ok(1, 1), no(2, 2)}, "1+[1][] 2-[][no 2]"},
		{"of their own and the event's", `{"request_detail_id":5,"x":{"request_detail_id":1}}`, []*tiebackv1.CloseOut{no(1, 1)}, "1-[][no 1] 5-[][no 1]"},
		{"two of the event's", `{"request_detail_id":5,"request_data":{"request_detail_id":6}}`, []*tiebackv1.CloseOut{ok(0, 1)}, "5+[1][] 6+[][]"},
	} {
		var got []string
		for _, c := range Settle(Request{Details: procore.RequestDetails([]byte(tt.payload))}, tt.records) {
			var marks []int64
			for _, m := range c.Marks {
				marks = append(marks, m.ItemId)
			}
			sign := map[tiebackv1.Status]string{tiebackv1.Status_STATUS_SUCCESS: "+", tiebackv1.Status_STATUS_FAILED: "-"}[c.Status]
			got = append(got, fmt.Sprintf("%d%s%v%v", c.RequestDetailId, sign, marks, c.Messages))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.why, s, tt.want)
		}
	}
}

func TestSettleLimitsTheReasons(t *testing.T) {
	var records []*tiebackv1.CloseOut
	for i := range int64(100) {
		records = append(records, no(0, i))
	}
	out := Settle(Request{Details: []int64{5}}, records)
	if len(out) != 1 || len(out[0].Messages) != maxMessages+1 || out[0].Messages[maxMessages] != "And 80 more." {
		t.Errorf("%v", out)
	}
}
