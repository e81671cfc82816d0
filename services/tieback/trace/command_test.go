package trace

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/golden"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/operator/trace"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // what the golden files show
	goleak.VerifyTestMain(m)
}

// execute runs a line of `tieback trace`.
func execute(t *testing.T, line string) (code int, out, errs string) {
	return commandtest.Run(t.Context(), Command(), line)
}

// publishRequests publishes request 12 of company 7, which is closed, request 13 of companies 7 and 8, and request 15 of
// company 9. A record's name has terminal control characters.
func publishRequests(t *testing.T) {
	t.Helper()
	b, leave := commandtest.Embedded(t)
	defer leave()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	delivery := func(company, request int64) {
		must(b.PublishOnce(t.Context(), bus.For(bus.Delivery, "", company, request), &tiebackv1.Delivery{
			CompanyId: company, ErpRequestId: request, EventId: "01J", ApiVersion: "v4.0", OccurredAt: timestamppb.Now(), ReceivedAt: timestamppb.Now(),
		}))
	}
	delivery(7, 12)
	delivery(7, 13)
	delivery(8, 13)
	delivery(9, 15)
	must(b.PublishOnce(t.Context(), bus.For(bus.Event, "create_vendor", 7, 12), &tiebackv1.Event{
		CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", RequestedAt: timestamppb.Now(), Payload: []byte(`{"secret_address":"1 Main St"}`),
	}))
	o := &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", ProcoreCalls: 2, CloseOuts: []*tiebackv1.CloseOut{{
		RequestDetailId: 5, Status: tiebackv1.Status_STATUS_SUCCESS, Record: "vendor \"\x1b[2J\"", Marks: []*tiebackv1.Mark{{ItemType: "vendor", ItemId: 9, OriginId: "V-1"}},
	}}}
	must(b.PublishOnce(t.Context(), bus.For(bus.Outcome, "create_vendor", 7, 12), o))
	must(b.PublishOnce(t.Context(), bus.For(bus.Closed, "create_vendor", 7, 12), o))
}

func TestExitCodes(t *testing.T) {
	commandtest.Settings(t, 7, 8)
	publishRequests(t)
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"", 2, "give the id of an ERP request in Procore: tieback trace 1001"},
		{"12 13", 2, "one ERP request at a time"},
		{"twelve", 2, "not the id of an ERP request"},
		{"0", 2, "not the id of an ERP request"},
		{"12 -o xml", 2, "table or json"},
		{"12 --company=-1", 2, "positive number"},
		{"12", 0, "Closed as success"},
		{"12 --company 7", 0, "marked vendor 9 as V-1"},
		{"12 --company 8", 1, "Never arrived here"},
		{"13", 2, "of companies 7, 8: choose one with --company"},
		{"13 --company 8", 0, "Waiting for fetcher"},
		{"14", 1, "never arrived here for any company"},
		{"12 --company 9", 2, "--company 9: is not in the companies file, which has 7, 8"},
		{"12 --company 9 --ask-procore", 2, "which has 7, 8"},
		{"15 --company 9", 0, "Waiting for fetcher"}, // a former company: its messages are still there
		{"12 --company 7 --ask-procore", 1, "As far as could be read"},
	} {
		if code, out, errs := execute(t, c.line); code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s", c.line, code, c.code, c.says, out, errs)
		}
	}
	for _, line := range []string{"12", "12 -o json", "12 --payload"} {
		_, out, _ := execute(t, line)
		if strings.Contains(out, "\x1b") || strings.Contains(out, "1 Main St") != strings.Contains(line, "--payload") {
			t.Errorf("%q shows\n%s", line, out)
		}
	}
}

// The command waits for a short rate limit, and reports the time of a long one.
func TestProcoreRateLimit(t *testing.T) {
	commandtest.Settings(t, 7, 8)
	publishRequests(t)
	for _, c := range []struct {
		after, says string
		code        int
		calls       int32
	}{
		{"1", "tieback trace: waiting 1s: ", 0, 2},
		{"900", "run it again at about ", 1, 1},
	} {
		var calls atomic.Int32
		commandtest.Procore(t, func(w http.ResponseWriter, _ *http.Request) {
			if calls.Add(1) == 1 {
				w.Header().Set("Retry-After", c.after)
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			fmt.Fprint(w, `{"id":12,"request_name":"create_vendor","request_data":{}}`)
		})
		began := time.Now()
		code, out, errs := execute(t, "12 --company 7 --ask-procore")
		if code != c.code || calls.Load() != c.calls || !strings.Contains(errs+out, c.says) || time.Since(began) > 20*time.Second {
			t.Errorf("Retry-After %s: exit %d after %v and %d calls, want %q\n%s%s", c.after, code, time.Since(began), calls.Load(), c.says, out, errs)
		}
	}
}

// A company may have millions of request details.
func TestDetailsAreNotReadBeyondTheClick(t *testing.T) {
	commandtest.Settings(t, 7, 8)
	publishRequests(t)
	var pages atomic.Int32
	commandtest.Procore(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/erp_request_details"):
			n := 100 - 2*pages.Add(1)
			w.Header().Set("Total", "60")
			w.Header().Set("Per-Page", "2")
			fmt.Fprintf(w, `[{"id":%d,"status":"success","created_at":"2026-11-20T12:00:00Z"},{"id":%d,"status":"success","created_at":"2026-11-20T12:00:00Z"}]`, n+1, n)
		default:
			fmt.Fprint(w, `{"id":12,"request_name":"create_vendor","created_at":"2026-11-25T12:00:00Z","request_data":{"request_detail_id":5}}`)
		}
	})
	_, out, errs := execute(t, "12 --company 7 --ask-procore")
	if !strings.Contains(out, "request detail 5: not in its list") || pages.Load() > 2 {
		t.Errorf("%d pages were read\n%s%s", pages.Load(), out, errs)
	}
}

// If the list can't be read, it is not known which request details it lacks.
func TestUnreadableListIsNotReportedAsLackingDetails(t *testing.T) {
	commandtest.Settings(t, 7, 8)
	publishRequests(t)
	commandtest.Procore(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/erp_request_details"):
			w.WriteHeader(http.StatusForbidden)
		default:
			fmt.Fprint(w, `{"id":12,"request_name":"create_vendor","request_data":{"request_detail_id":5}}`)
		}
	})
	code, out, errs := execute(t, "12 --company 7 --ask-procore")
	if code != 1 || strings.Contains(out, "not in its list") || !strings.Contains(out, "create_vendor; no creation time") || !strings.Contains(out, "Could not read Procore's list of request details") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

func TestJSON(t *testing.T) {
	commandtest.Settings(t, 7, 8)
	publishRequests(t)
	code, out, errs := execute(t, "12 -o json")
	var s trace.Trace
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || errs != "" {
		t.Fatalf("exit %d, %v: %s", code, err, errs)
	}
	if len(s.Steps) != 4 || s.Steps[3].Outcome.CloseOuts[0].Marks[0].OriginID != "V-1" || s.Verdict == "" || s.Company != 7 || s.Current != nil {
		t.Errorf("it has %s", out)
	}
}

// TestGolden compares the text and the JSON with golden files.
func TestGolden(t *testing.T) {
	tr := example()
	var table strings.Builder
	if err := printTrace(&table, tr); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/trace.golden", table.String())
	doc, err := json.MarshalIndent(tr, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/trace.json", string(doc)+"\n")
}

// example is a trace with every kind of step: failed for good, edited and replayed, retried now.
func example() trace.Trace {
	at := func(s float64) time.Time {
		return time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC).Add(time.Duration(s * float64(time.Second)))
	}
	took := func(s float64) *float64 { return &s }
	clicked, next, noted, deadline, attempts := at(0), at(1310), at(1302), at(2201), 3
	failed := &trace.Outcome{Calls: 1, Expired: true, DeadLettered: true, CloseOuts: []trace.CloseOut{{
		Detail: 5, Status: "failed", Record: `vendor "Acme"`, Messages: []string{"This could not be done within 15 minutes."},
	}}}
	return trace.Trace{
		Company: 598134325841112, Request: 1001, Type: "create_vendor", Category: "export", Clicked: &clicked, Unread: []string{},
		Steps: []trace.Step{
			{At: at(0.4), Took: took(0.4), Since: "click", Kind: "delivery", Text: "delivery received", Subject: "tb.delivery._._.598134325841112.1001", Sequence: 1,
				Delivery: &trace.Delivery{EventID: "01J", APIVersion: "v4.0", User: 5, OccurredAt: at(0), ReceivedAt: at(0.39)}},
			{At: at(1), Took: took(0.6), Since: "delivery", Kind: "event", By: "fetcher", Text: "fetched: create_vendor, 812 bytes", Subject: "tb.event.export.create_vendor.598134325841112.1001", Sequence: 1,
				Event: &trace.Event{Bytes: 812}},
			{At: at(901), Took: took(900), Since: "event", Kind: "outcome", By: "deadline", Subject: "tb.outcome.export.create_vendor.598134325841112.1001", Sequence: 1, Outcome: failed},
			{At: at(901.1), Took: took(900.1), Since: "event", Kind: "dead", By: "deadline", Subject: "tb.dead.export.create_vendor.598134325841112.1001", Sequence: 42,
				Text:       "deadline gave up after 12 attempts, dead letter 42: not finished within 15m0s: connection refused",
				DeadLetter: &trace.DeadLetter{ID: 42, Stage: "deadline", Class: "transient", Cause: "erp", Attempts: 12, Error: "not finished within 15m0s: connection refused"}},
			{At: at(902), Took: took(1), Since: "outcome", Kind: "closed", By: "status-reporter", Subject: "tb.closed.export.create_vendor.598134325841112.1001", Sequence: 1, Outcome: failed},
			{At: at(1300), Took: took(398.9), Since: "dead_letter", Kind: "resolution", Run: "42", By: "ann@office", Text: "dead letter 42 was replayed by ann@office", Subject: "tb.resolution.export.create_vendor.598134325841112.1001.42", Sequence: 1,
				Resolution: &trace.Resolution{DeadLetter: 42, Action: "replayed", Who: "ann@office", Replay: "tb.event.export.create_vendor.598134325841112.1001.42"}},
			{At: at(1301), Took: took(1), Since: "resolution", Kind: "event", Run: "42", By: "ann@office", Text: "replayed: fetched: create_vendor, 812 bytes", Subject: "tb.event.export.create_vendor.598134325841112.1001.42", Sequence: 2,
				Event: &trace.Event{Bytes: 812}},
			{At: at(1302), Took: took(1), Since: "event", Kind: "outcome", Run: "42", By: "export", Subject: "tb.outcome.export.create_vendor.598134325841112.1001.42", Sequence: 2, Outcome: &trace.Outcome{Calls: 2, CloseOuts: []trace.CloseOut{{
				Detail: 5, Status: "success", Record: `vendor "Acme"`, Marks: []trace.Mark{{Item: trace.Item{Type: "vendor", ID: 9}, OriginID: "V-1", OriginCode: "ACME"}},
			}}}},
			{At: at(1304), Took: took(2), Since: "outcome", Kind: "closed", Run: "42", By: "status-reporter", Subject: "tb.closed.export.create_vendor.598134325841112.1001.42", Sequence: 2, Outcome: &trace.Outcome{Calls: 2, CloseOuts: []trace.CloseOut{{
				Detail: 5, Status: "success", Record: `vendor "Acme"`, KeptStatus: "failed", Marks: []trace.Mark{{Item: trace.Item{Type: "vendor", ID: 9}, OriginID: "V-1", OriginCode: "ACME"}},
				Unlinks: []trace.Item{{Type: "vendor", ID: 8}},
			}}}},
		},
		Current: &trace.Current{Stage: "export", Run: "43", Since: at(1301), Handed: request.Delivered, Attempts: &attempts, LastAttempt: &noted, Next: &next, Deadline: &deadline,
			Failure: &trace.Failure{Class: "transient", Source: "erp", UserMessage: "The ERP is away.", Error: "connection refused"}},
		Procore: &trace.ProcoreState{Known: true, Type: "create_vendor", Created: &clicked, Details: []trace.Detail{{ID: 5, Status: "failed"}}, Calls: 2},
		Class:   request.InProgress, Accounted: true, Verdict: "run 43 waiting for the ERP since 12:21:41 (5.0 s) at export, 3 attempts",
	}
}

// The run, the last token of a subject, is not validated by the broker.
func TestRunHasNoTerminalControlCharacters(t *testing.T) {
	tr := trace.Trace{Steps: []trace.Step{{Run: "\x1b[2J", Kind: "event"}}, Current: &trace.Current{Run: "\x1b[2J", Stage: "export"}}
	var out strings.Builder
	if err := printTrace(&out, tr); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b") || strings.Count(out.String(), `\u001b[2J`) != 2 {
		t.Errorf("%q", out.String())
	}
}
