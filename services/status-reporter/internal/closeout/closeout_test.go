package closeout_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/procoretest"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/status-reporter/internal/closeout"
)

// fake is a Procore that answers each call with a function and records the calls.
type fake struct {
	*procore.Session
	mu     sync.Mutex
	calls  []string
	answer func(call string, body map[string]any) (int, string)
	limit  func() bool // returns false while the rate limit is exceeded; nil: no limit
}

func newFake(t *testing.T, answer func(call string, body map[string]any) (int, string)) *fake {
	t.Helper()
	f := &fake{answer: answer}
	f.Session = procoretest.Session(t, http.HandlerFunc(f.serve))
	return f
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	if f.limit != nil {
		if !f.limit() {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
	}
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body) // a GET has none
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	call := r.Method + " " + strings.Join(parts[max(0, len(parts)-2):], "/")
	f.mu.Lock()
	f.calls = append(f.calls, call)
	f.mu.Unlock()
	status, text := http.StatusOK, ""
	if f.answer != nil {
		status, text = f.answer(call, body)
	}
	if text == "" {
		text = `{"entities":[],"errors":[]}`
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "60") // longer than is waited out in place
	}
	w.WriteHeader(status)
	fmt.Fprint(w, text)
}

func vendor(id int64) *tiebackv1.Outcome {
	return &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: id, Type: "create_vendor", CloseOuts: []*tiebackv1.CloseOut{{
		RequestDetailId: 1000 + id, Status: tiebackv1.Status_STATUS_SUCCESS, Record: fmt.Sprintf("vendor %d", id),
		Marks: []*tiebackv1.Mark{{ItemType: "vendor", ItemId: id, OriginId: fmt.Sprintf("V-%d", id)}},
	}}}
}

const (
	external = "PATCH external_data/sync"
	details  = "PATCH erp_request_details/sync"

	unlinkCall = "PATCH erp_status_management/unlink"
)

func items(repeat bool, outcomes ...*tiebackv1.Outcome) []closeout.Item {
	var out []closeout.Item
	for _, o := range outcomes {
		out = append(out, closeout.Item{Outcome: o, Redelivered: repeat})
	}
	return out
}

func noLinks(context.Context, int, *tiebackv1.Outcome) error { return nil }

// report is Report without links.
func report(t *testing.T, p *fake, outcomes []*tiebackv1.Outcome) []closeout.Result {
	t.Helper()
	return closeout.Report(t.Context(), p.Session, items(false, outcomes...), noLinks)
}

// After success the user may press the next button at once, and the payment of an invoice needs the invoice's link.
func TestLinksArePersistedBeforeSuccess(t *testing.T) {
	p := newFake(t, nil)
	var at []string
	keep := func(err error) closeout.StoreLinks {
		return func(context.Context, int, *tiebackv1.Outcome) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			at = slices.Clone(p.calls)
			return err
		}
	}
	if err := closeout.Report(t.Context(), p.Session, items(false, vendor(1)), keep(nil))[0].Err; err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(at, []string{external}) || !slices.Equal(p.calls, []string{external, details}) {
		t.Errorf("kept after %v, in all %v", at, p.calls)
	}
	p.calls = nil
	if err := closeout.Report(t.Context(), p.Session, items(false, vendor(1)), keep(errors.New("bus down")))[0].Err; err == nil || slices.Contains(p.calls, details) {
		t.Errorf("err %v, calls %v", err, p.calls)
	}
}

func TestReportOfThousandEventsMakesTwoCalls(t *testing.T) {
	p := newFake(t, nil)
	var outcomes []*tiebackv1.Outcome
	for i := range 1000 {
		outcomes = append(outcomes, vendor(int64(i+1)))
	}
	for _, r := range report(t, p, outcomes) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if want := []string{external, details}; !slices.Equal(p.calls, want) {
		t.Errorf("calls %v, want %v", p.calls, want)
	}
}

func TestStepOrder(t *testing.T) {
	p := newFake(t, nil)
	o := vendor(1)
	o.CloseOuts[0].Assignments = []*tiebackv1.Assignment{{ProjectId: 3, CostCodeId: 4, LineItemTypeId: 5}}
	o.CloseOuts[0].BudgetTransactions = []*tiebackv1.BudgetTransaction{{ProjectId: 3, Id: 6, OriginId: "T"}}
	o.CloseOuts[0].Unlinks = []*tiebackv1.Unlink{{ItemType: "vendor", ItemId: 9}}
	if err := report(t, p, []*tiebackv1.Outcome{o})[0].Err; err != nil {
		t.Fatal(err)
	}
	want := []string{unlinkCall, external, "PATCH cost_code_line_item_types/sync", "PATCH erp_transactions/sync", details}
	if !slices.Equal(p.calls, want) {
		t.Errorf("calls %v, want %v", p.calls, want)
	}
}

// statuses records the reported status of each request detail.
func statuses(into map[string]string) func(string, map[string]any) (int, string) {
	return func(call string, body map[string]any) (int, string) {
		if call == details {
			for _, u := range body["updates"].([]any) {
				up := u.(map[string]any)
				into[fmt.Sprintf("%.0f", up["id"])] = fmt.Sprint(up["status"], up["messages"])
			}
		}
		return http.StatusOK, ""
	}
}

func TestItemRefusedInside200FailsItsEventOnly(t *testing.T) {
	reported := map[string]string{}
	next := statuses(reported)
	p := newFake(t, func(call string, body map[string]any) (int, string) {
		if call == external {
			return 200, `{"entities":[],"errors":[{"item_type":"vendor","item_id":2,"origin_id":"V-2","errors":{"origin_id":["has already been taken"]}}]}`
		}
		return next(call, body)
	})
	outcomes := []*tiebackv1.Outcome{vendor(1), vendor(2), vendor(3)}
	results := report(t, p, outcomes)
	for _, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if reported["1001"] != "success[]" || reported["1003"] != "success[]" {
		t.Errorf("the other events were reported as %v", reported)
	}
	if !strings.HasPrefix(reported["1002"], "failed") || !strings.Contains(reported["1002"], "has already been taken") || !strings.Contains(reported["1002"], "vendor 2") {
		t.Errorf("the refused event was reported as %q", reported["1002"])
	}
	if len(results[1].Reported.CloseOuts[0].Marks) != 0 {
		t.Error("a refused mark stays in the close-out: a link would be stored for it")
	}
	if !proto.Equal(outcomes[1], vendor(2)) {
		t.Errorf("the report changed its caller's outcome to %v", outcomes[1])
	}
}

func TestNoDetailIsReportedIfMarksFail(t *testing.T) {
	for name, status := range map[string]int{"500": 500, "503": 503, "429": 429} {
		t.Run(name, func(t *testing.T) {
			p := newFake(t, func(call string, _ map[string]any) (int, string) {
				if call == external {
					return status, `{"message":"no"}`
				}
				return 200, ""
			})
			err := report(t, p, []*tiebackv1.Outcome{vendor(1)})[0].Err
			if err == nil || fault.ClassOf(err) == fault.Permanent || slices.Contains(p.calls, details) {
				t.Errorf("err %v, calls %v", err, p.calls)
			}
		})
	}
}

// If one event makes Procore refuse the whole call, the other events are still reported.
func TestRefusedCallIsRetriedByEvent(t *testing.T) {
	reported := map[string]string{}
	next := statuses(reported)
	p := newFake(t, func(call string, body map[string]any) (int, string) {
		if call == external && strings.Contains(fmt.Sprint(body), "item_id:2 ") {
			return 422, `{"errors":{"updates":["item_type is unknown"]}}`
		}
		return next(call, body)
	})
	for _, r := range report(t, p, []*tiebackv1.Outcome{vendor(1), vendor(2), vendor(3)}) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if reported["1001"] != "success[]" || reported["1003"] != "success[]" || !strings.Contains(reported["1002"], "item type is unknown") && !strings.Contains(reported["1002"], "item_type is unknown") {
		t.Errorf("reported %v", reported)
	}
}

// A crash between the call and the ack causes a redelivery, and Procore refuses to change a final request detail, even to
// the same status.
func TestRedeliveryOfReportedSuccess(t *testing.T) {
	for standing, wantErr := range map[string]bool{"success": false, "failed": true} {
		t.Run(standing, func(t *testing.T) {
			p := newFake(t, func(call string, _ map[string]any) (int, string) {
				switch {
				case call == details:
					return 200, `{"entities":[],"errors":[{"id":1001,"status":"success","errors":{"status":["is final"]}}]}`
				case strings.HasPrefix(call, "GET"):
					return 200, `{"id":1001,"status":"` + standing + `"}`
				}
				return 200, ""
			})
			err := report(t, p, []*tiebackv1.Outcome{vendor(1)})[0].Err
			if (err != nil) != wantErr || (wantErr && fault.ClassOf(err) != fault.Permanent) {
				t.Errorf("err %v", err)
			}
		})
	}
}

// Procore refuses to unlink a record that is not linked. On a redelivery an earlier attempt may have unlinked it, which an
// idempotent mark shows; a refusal of the first attempt is final.
func TestRefusedUnlinkIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		repeat, markRefused bool
		want                string
	}{
		"first try":               {false, false, "failed"},
		"repeat, unlinked before": {true, false, "success"},
		"repeat, still linked":    {true, true, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			reported := map[string]string{}
			next := statuses(reported)
			p := newFake(t, func(call string, body map[string]any) (int, string) {
				switch {
				case strings.Contains(call, "unlink"):
					return 422, `{"message":"has exported payments"}`
				case call == external && c.markRefused:
					return 200, `{"errors":[{"item_type":"vendor","item_id":9,"errors":{"item_id":["is unknown"]}}]}`
				}
				return next(call, body)
			})
			o := &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: 1, CloseOuts: []*tiebackv1.CloseOut{{
				RequestDetailId: 1001, Status: tiebackv1.Status_STATUS_SUCCESS, Unlinks: []*tiebackv1.Unlink{{ItemType: "vendor", ItemId: 9}},
			}}}
			if err := closeout.Report(t.Context(), p.Session, items(c.repeat, o), noLinks)[0].Err; err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(reported["1001"], c.want) {
				t.Errorf("reported %v, want %s", reported, c.want)
			}
		})
	}
}

// If one copy of an outcome could not be reported, the other is not reported either.
func TestCopiesOfOutcomeShareResult(t *testing.T) {
	p := newFake(t, func(call string, _ map[string]any) (int, string) {
		if call == details {
			return 500, ""
		}
		return 200, ""
	})
	for i, r := range report(t, p, []*tiebackv1.Outcome{vendor(1), vendor(1)}) {
		if r.Err == nil {
			t.Errorf("copy %d counts as reported", i)
		}
	}
}

// Forty unlinks at 3 calls per window: each window continues where the last one ended.
func TestReportLargerThanRateWindow(t *testing.T) {
	p := newFake(t, nil)
	var mu sync.Mutex
	left, window := 3, time.Now()
	p.limit = func() bool {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(window) > 50*time.Millisecond {
			left, window = 3, time.Now()
		}
		left--
		return left >= 0
	}
	o := vendor(1)
	for i := range 40 {
		o.CloseOuts[0].Unlinks = append(o.CloseOuts[0].Unlinks, &tiebackv1.Unlink{ItemType: "vendor", ItemId: int64(100 + i)})
	}
	if err := report(t, p, []*tiebackv1.Outcome{o})[0].Err; err != nil {
		t.Fatal(err)
	}
	if got := len(slices.DeleteFunc(p.calls, func(c string) bool { return c != "PATCH erp_status_management/unlink" })); got != 40 {
		t.Errorf("%d unlinks, want 40", got)
	}
}

func TestForbiddenCallIsMadeOnce(t *testing.T) {
	p := newFake(t, func(string, map[string]any) (int, string) { return 403, "" })
	var outcomes []*tiebackv1.Outcome
	for i := range 300 {
		outcomes = append(outcomes, vendor(int64(i+1)))
	}
	for _, r := range report(t, p, outcomes) {
		if r.Err == nil {
			t.Fatal("no error")
		}
	}
	if len(p.calls) > 2 {
		t.Errorf("%d calls", len(p.calls))
	}
}

func TestRefusedMarkWithoutRequestDetailIsError(t *testing.T) {
	p := newFake(t, func(call string, _ map[string]any) (int, string) {
		return 200, `{"errors":[{"item_type":"vendor","item_id":1,"errors":{"item_id":["is unknown"]}}]}`
	})
	o := proto.Clone(vendor(1)).(*tiebackv1.Outcome)
	o.CloseOuts[0].RequestDetailId = 0
	if err := report(t, p, []*tiebackv1.Outcome{o})[0].Err; fault.ClassOf(err) != fault.Permanent {
		t.Errorf("err %v", err)
	}
}

// A mark that Procore accepted counts, also if it refused the rest of the event. Without its link an older request could
// overwrite it.
func TestAcceptedMarksArePersistedIfOthersAreRefused(t *testing.T) {
	p := newFake(t, func(call string, _ map[string]any) (int, string) {
		return 200, `{"errors":[{"item_type":"line_item","item_id":2,"errors":{"item_id":["is unknown"]}}]}`
	})
	o := vendor(1)
	o.CloseOuts[0].RequestDetailId = 0 // a reset
	o.CloseOuts[0].Marks = append(o.CloseOuts[0].Marks, &tiebackv1.Mark{ItemType: "line_item", ItemId: 2})
	var kept []*tiebackv1.Mark
	err := closeout.Report(t.Context(), p.Session, items(false, o), func(_ context.Context, _ int, o *tiebackv1.Outcome) error {
		kept = o.CloseOuts[0].Marks
		return nil
	})[0].Err
	if fault.ClassOf(err) != fault.Permanent || len(kept) != 1 || kept[0].ItemType != "vendor" {
		t.Errorf("kept %v, err %v", kept, err)
	}
}

// If a refusal names no item, the event that it belongs to is found, and the other events are reported.
func TestRefusalWithoutItemIsMatchedToItsEvent(t *testing.T) {
	p := newFake(t, func(call string, body map[string]any) (int, string) {
		updates, _ := body["updates"].([]any)
		for _, u := range updates {
			if u := u.(map[string]any); fmt.Sprint(u["origin_id"]) == "V-3" || u["id"] == 1005.0 {
				return 200, `{"errors":[{"errors":{"base":["went wrong"]}}]}`
			}
		}
		if strings.HasPrefix(call, "GET") {
			return 200, `{"id":1005,"status":"success"}`
		}
		return 200, ""
	})
	var outcomes []*tiebackv1.Outcome
	for i := range 6 {
		outcomes = append(outcomes, vendor(int64(i)))
	}
	outcomes[3].CloseOuts[0].Marks = append(outcomes[3].CloseOuts[0].Marks, &tiebackv1.Mark{ItemType: "line_item", ItemId: 30, OriginId: "V-3"})
	for i, r := range report(t, p, outcomes) {
		want := tiebackv1.Status_STATUS_SUCCESS
		if i == 3 {
			want = tiebackv1.Status_STATUS_FAILED
			if c := r.Reported.CloseOuts[0]; len(c.Messages) != 1 || len(c.Marks) != 0 {
				t.Errorf("the refused event has messages %q and marks %v", c.Messages, c.Marks)
			}
		}
		if c := r.Reported.CloseOuts[0]; r.Err != nil || c.Status != want {
			t.Errorf("vendor %d: %v %q, err %v", i, c.Status, c.Messages, r.Err)
		}
	}
}

// If a call is too large for Procore, which may have processed it nevertheless, it is split. Each event is reported once,
// and none is lost.
func TestTooLargeCallIsSplit(t *testing.T) {
	for _, status := range []int{408, 413, 504} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			marked, final := map[float64]any{}, map[string]string{}
			p := newFake(t, func(call string, body map[string]any) (int, string) {
				if id, is := strings.CutPrefix(call, "GET erp_request_details/"); is {
					return 200, fmt.Sprintf(`{"id":%s,"status":%q}`, id, final[id])
				}
				updates := body["updates"].([]any)
				if len(updates) > 3 && status != 504 {
					return status, ""
				}
				refused := []map[string]any{}
				for _, u := range updates {
					up := u.(map[string]any)
					switch id := fmt.Sprintf("%.0f", up["id"]); {
					case call == external:
						marked[up["item_id"].(float64)] = up["origin_id"]
					case final[id] != "": // a final detail is refused, whatever it is to become
						refused = append(refused, map[string]any{"id": up["id"], "errors": map[string]any{"status": []string{"is final"}}})
					default:
						final[id] = up["status"].(string)
					}
				}
				if len(updates) > 3 {
					return status, "" // taken, and the answer came too late
				}
				raw, _ := json.Marshal(map[string]any{"entities": []any{}, "errors": refused})
				return 200, string(raw)
			})
			var outcomes []*tiebackv1.Outcome
			for i := range 20 {
				outcomes = append(outcomes, vendor(int64(i+1)))
			}
			for i, r := range report(t, p, outcomes) {
				if c := r.Reported.CloseOuts[0]; r.Err != nil || c.Status != tiebackv1.Status_STATUS_SUCCESS || len(c.Marks) != 1 || c.KeptStatus != "" {
					t.Errorf("vendor %d: %v, %v", i+1, c, r.Err)
				}
			}
			if len(marked) != 20 || len(final) != 20 {
				t.Errorf("%d marked, %d closed", len(marked), len(final))
			}
			for id, at := range final {
				if at != "success" {
					t.Errorf("detail %s has status %s", id, at)
				}
			}
		})
	}
}

// If the lines of a commitment make Procore refuse whole calls, only this commitment fails.
func TestRefusedLinesFailTheirEventOnly(t *testing.T) {
	p := newFake(t, func(call string, body map[string]any) (int, string) {
		if call == external && slices.ContainsFunc(body["updates"].([]any), func(u any) bool { return u.(map[string]any)["item_type"] == "line_item" }) {
			return 422, `{"message":"bad line"}`
		}
		return 200, ""
	})
	commitment := &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: 1, Type: "create_commitment", CloseOuts: []*tiebackv1.CloseOut{{
		RequestDetailId: 1001, Status: tiebackv1.Status_STATUS_SUCCESS, Record: "commitment 1",
	}}}
	for i := range int64(8) {
		commitment.CloseOuts[0].Marks = append(commitment.CloseOuts[0].Marks, &tiebackv1.Mark{ItemType: "line_item", ItemId: 500 + i, OriginId: fmt.Sprint("L-", i)})
	}
	outcomes := []*tiebackv1.Outcome{commitment}
	for id := int64(2); id < 22; id++ {
		outcomes = append(outcomes, vendor(id))
	}
	for i, r := range report(t, p, outcomes) {
		c, want, marks := r.Reported.CloseOuts[0], tiebackv1.Status_STATUS_SUCCESS, 1
		if i == 0 {
			want, marks = tiebackv1.Status_STATUS_FAILED, 0
		}
		if r.Err != nil || c.Status != want || len(c.Marks) != marks {
			t.Errorf("outcome %d: %v %q, %d marks: %v", i, c.Status, c.Messages, len(c.Marks), r.Err)
		}
	}
}

// Request details that make Procore refuse whole calls do not prevent others from being closed.
func TestRefusedRequestDetailsFailAlone(t *testing.T) {
	closed := map[int64]bool{}
	p := newFake(t, func(call string, body map[string]any) (int, string) {
		if strings.HasPrefix(call, "GET ") {
			return 200, `{"id":1,"status":"failed"}`
		}
		if call != details {
			return 200, ""
		}
		var ids []int64
		for _, u := range body["updates"].([]any) {
			ids = append(ids, int64(u.(map[string]any)["id"].(float64)))
		}
		if slices.ContainsFunc(ids, func(id int64) bool { return id <= 1008 }) {
			return 422, `{"message":"bad detail"}`
		}
		for _, id := range ids {
			closed[id] = true
		}
		return 200, ""
	})
	var outcomes []*tiebackv1.Outcome
	for id := int64(1); id <= 28; id++ {
		outcomes = append(outcomes, vendor(id))
	}
	for i, r := range report(t, p, outcomes) {
		if bad := i < 8; (r.Err != nil) != bad || closed[int64(1001+i)] == bad {
			t.Errorf("outcome %d: closed %v: %v", i, closed[int64(1001+i)], r.Err)
		}
	}
}
