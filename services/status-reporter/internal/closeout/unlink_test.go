package closeout_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/status-reporter/internal/closeout"
)

// bill is an unlinked payment application with a line.
func bill(id int64) *tiebackv1.Outcome {
	return &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: id, CloseOuts: []*tiebackv1.CloseOut{{
		RequestDetailId: 1000 + id, Status: tiebackv1.Status_STATUS_SUCCESS, Record: fmt.Sprintf("payment application %d", id),
		Unlinks: []*tiebackv1.Unlink{{ItemType: "payment_application", ItemId: id}},
		Marks:   []*tiebackv1.Mark{{ItemType: "payment_application_line_item", ItemId: 10 * id}},
	}}}
}

// count returns how often a call was made.
func (f *fake) count(call string) int {
	return len(slices.DeleteFunc(slices.Clone(f.calls), func(c string) bool { return c != call }))
}

// Status management unlinks the record, external data its lines.
func TestUnlinkOfRecordAndLines(t *testing.T) {
	reported, marks := map[string]string{}, []string(nil)
	p := newFake(t, noting(&marks, statuses(reported)))
	if err := report(t, p, []*tiebackv1.Outcome{bill(1)})[0].Err; err != nil {
		t.Fatal(err)
	}
	if want := []string{unlinkCall, external, details}; !slices.Equal(p.calls, want) || !slices.Equal(marks, []string{"payment_application_line_item 10 <nil>"}) || reported["1001"] != "success[]" {
		t.Errorf("calls %v, marks %v, reported %v", p.calls, marks, reported)
	}
}

// noting records the marks of external data, and answers as next does.
func noting(marks *[]string, next func(string, map[string]any) (int, string)) func(string, map[string]any) (int, string) {
	return func(call string, body map[string]any) (int, string) {
		if call == external {
			for _, u := range body["updates"].([]any) {
				up := u.(map[string]any)
				*marks = append(*marks, fmt.Sprint(up["item_type"], " ", up["item_id"], " ", up["origin_id"]))
			}
		}
		return next(call, body)
	}
}

// If Procore lacks status management, records get origin_id null in one call, and the route is called once.
func TestUnlinkWithoutStatusManagement(t *testing.T) {
	for _, status := range []int{404, 405} {
		reported, marks := map[string]string{}, []string(nil)
		next := noting(&marks, statuses(reported))
		p := newFake(t, func(call string, body map[string]any) (int, string) {
			if call == unlinkCall {
				return status, ""
			}
			return next(call, body)
		})
		for range 2 {
			p.calls, marks = p.calls[:0], nil
			outcomes := []*tiebackv1.Outcome{bill(1), bill(2), bill(3)}
			for _, r := range report(t, p, outcomes) {
				if r.Err != nil || r.Reported.CloseOuts[0].Status != tiebackv1.Status_STATUS_SUCCESS {
					t.Fatalf("%d: %v, %v", status, r.Reported.CloseOuts[0], r.Err)
				}
			}
			slices.Sort(marks)
			if want := []string{
				"payment_application 1 <nil>", "payment_application 2 <nil>", "payment_application 3 <nil>",
				"payment_application_line_item 10 <nil>", "payment_application_line_item 20 <nil>", "payment_application_line_item 30 <nil>",
			}; !slices.Equal(marks, want) || p.count(external) != 1 {
				t.Errorf("%d: marks %v in calls %v", status, marks, p.calls)
			}
		}
		if n := p.count(unlinkCall); n != 0 {
			t.Errorf("%d: the second report asked for the route %d times", status, n)
		}
	}
}

// A 404 for a record that Procore does not have does not mean that the route is missing.
func TestUnlinkOfMissingRecordKeepsRoute(t *testing.T) {
	p := newFake(t, func(call string, body map[string]any) (int, string) {
		if call == unlinkCall && strings.Contains(fmt.Sprint(body), "item_id:1 ") {
			return 404, `{"message":"Not Found"}`
		}
		if call == external && strings.Contains(fmt.Sprint(body), "item_id:1 ") {
			return 200, `{"errors":[{"item_type":"payment_application","item_id":1,"errors":{"base":["could not be found"]}},{"item_type":"payment_application_line_item","item_id":10,"errors":{"base":["could not be found"]}}]}`
		}
		return 200, ""
	})
	for _, id := range []int64{1, 2} {
		o := bill(id)
		if r := report(t, p, []*tiebackv1.Outcome{o})[0]; r.Err != nil || r.Reported.CloseOuts[0].Status != tiebackv1.Status_STATUS_SUCCESS {
			t.Errorf("%d: %v, %v", id, r.Reported.CloseOuts[0], r.Err)
		}
	}
	if p.count(unlinkCall) != 2 {
		t.Errorf("calls %v", p.calls)
	}
}

// If Procore refuses to unlink a record, its lines stay linked.
func TestRefusedUnlinkKeepsLines(t *testing.T) {
	reported := map[string]string{}
	next := statuses(reported)
	p := newFake(t, func(call string, body map[string]any) (int, string) {
		if call == unlinkCall {
			return http.StatusUnprocessableEntity, `{"message":"has exported payments"}`
		}
		return next(call, body)
	})
	if err := report(t, p, []*tiebackv1.Outcome{bill(1)})[0].Err; err != nil || !strings.HasPrefix(reported["1001"], "failed") || p.count(external) != 0 {
		t.Errorf("reported %v, calls %v, %v", reported, p.calls, err)
	}
}

// A record that Procore no longer has counts as unlinked: for an unlink, a reset's mark, and their redeliveries.
func TestMissingRecordIsUnlinked(t *testing.T) {
	for name, o := range map[string]*tiebackv1.Outcome{
		"a mark, with a request detail": {CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 1001, Status: tiebackv1.Status_STATUS_SUCCESS, Marks: []*tiebackv1.Mark{{ItemType: "vendor", ItemId: 9}}}}},
		"a mark, without one":           {CloseOuts: []*tiebackv1.CloseOut{{Status: tiebackv1.Status_STATUS_SUCCESS, Marks: []*tiebackv1.Mark{{ItemType: "vendor", ItemId: 9}}}}},
		"an unlink":                     {CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 1001, Status: tiebackv1.Status_STATUS_SUCCESS, Unlinks: []*tiebackv1.Unlink{{ItemType: "vendor", ItemId: 9}}}}},
	} {
		for _, repeat := range []bool{false, true} {
			p := newFake(t, func(call string, _ map[string]any) (int, string) {
				switch call {
				case unlinkCall:
					return 422, `{"errors":{"item_id":["could not be found"]}}`
				case external:
					return 200, `{"entities":[],"errors":[{"item_type":"vendor","item_id":9,"origin_id":null,"errors":{"item_id":["could not be found"]}}]}`
				}
				return 200, ""
			})
			var kept *tiebackv1.CloseOut
			store := func(_ context.Context, _ int, o *tiebackv1.Outcome) error { kept = o.CloseOuts[0]; return nil }
			if r := closeout.Report(t.Context(), p.Session, items(repeat, o), store)[0]; r.Err != nil || r.Reported.CloseOuts[0].Status != tiebackv1.Status_STATUS_SUCCESS {
				t.Errorf("%s, repeat %v: %v, %v", name, repeat, r.Reported.CloseOuts[0], r.Err)
			}
			if kept == nil || len(kept.Marks)+len(kept.Unlinks) == 0 {
				t.Errorf("%s, repeat %v: the link is not ended: %v", name, repeat, kept)
			}
		}
	}
}

// If the record of a booking was deleted in Procore, the request fails, no link is stored, and the message says that the
// ERP has the record. Without a request detail it becomes a dead letter.
func TestBookingOfMissingRecordFails(t *testing.T) {
	reported := map[string]string{}
	next := statuses(reported)
	p := newFake(t, func(call string, body map[string]any) (int, string) {
		if call == external {
			return 200, `{"errors":[{"item_type":"vendor","item_id":2,"origin_id":"V-2","errors":{"item_id":["could not be found"]}}]}`
		}
		return next(call, body)
	})
	o := vendor(2)
	if r := report(t, p, []*tiebackv1.Outcome{o})[0]; r.Err != nil || len(r.Reported.CloseOuts[0].Marks) != 0 {
		t.Errorf("%v, %v", r.Reported.CloseOuts[0], r.Err)
	}
	if !strings.HasPrefix(reported["1002"], "failed") || !strings.Contains(reported["1002"], "Your ERP system has booked this, but vendor 2 (vendor) no longer exists in Procore.") {
		t.Errorf("reported %q", reported["1002"])
	}
	o = vendor(2)
	o.CloseOuts[0].RequestDetailId = 0
	if err := report(t, p, []*tiebackv1.Outcome{o})[0].Err; fault.ClassOf(err) != fault.Permanent {
		t.Errorf("without a request detail: %v", err)
	}
}
