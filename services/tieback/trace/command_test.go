package trace

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/golden"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// execute runs a line of `tieback trace`.
func execute(t *testing.T, line string) (code int, out, errs string) {
	return commandtest.Run(t.Context(), Command(), line)
}

// publishRequests publishes request 12 of company 7, which is closed, request 13 of companies 7 and 8, request 15 of
// company 9, and request 16 of company 8. A record's name has terminal control characters.
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
	must(b.PublishOnce(t.Context(), bus.For(bus.Event, "create_vendor", 8, 16), &tiebackv1.Event{
		CompanyId: 8, ErpRequestId: 16, Type: "create_vendor", RequestedAt: timestamppb.Now(), Payload: []byte(`{}`),
	}))
	o := &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", ProcoreCalls: 2, CloseOuts: []*tiebackv1.CloseOut{{
		RequestDetailId: 5, Status: tiebackv1.Status_STATUS_SUCCESS, Record: "vendor \"Sorrel \x1b[2J\"", Marks: []*tiebackv1.Mark{{ItemType: "vendor", ItemId: 9, OriginId: "V-1"}},
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
		{"", 2, "give the id of an ERP request in Procore, such as tieback trace 1001"},
		{"12 13", 2, "one ERP request at a time"},
		{"twelve", 1, `no request has "twelve" in its names`},
		{"0", 1, `no request has "0"`},
		{"12 -w --payload", 2, "leave out --payload"},
		{"12 -o xml", 2, "table or json"},
		{"12 --company=-1", 2, "positive number"},
		{"12", 0, "Closed as success"},
		{"12 -w", 0, "Closed as success"},
		{"5", 0, "ERP request 12 of company 7"}, // a request detail
		{"5 --company 8", 1, "never arrived here"},
		{"sorrel", 0, "ERP request 12 of company 7"},
		{"vendor", 2, "give the id of one of them"},
		{"12 --company 7", 0, "marked vendor 9 as V-1"},
		{"12 --company 8", 1, "never arrived here"},
		{"13", 2, "of companies 7, 8: choose one"},
		{"13 --company 8", 0, "Waiting for fetcher"},
		{"14", 1, "never arrived here for any company"},
		{"12 --company 9", 2, "company 9 is not in the companies file, which has 7, 8"},
		{"12 --company 9 --ask-procore", 2, "which has 7, 8"},
		{"15 --company 9", 0, "Waiting for fetcher"}, // a former company: its messages are still there
		{"12 --company 7 --ask-procore", 1, "As far as could be read"},
	} {
		if code, out, errs := execute(t, c.line); code != c.code || !strings.Contains(out+errs, c.says) || strings.Contains(out+errs, "ask_procore") {
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

// The server waits for a short rate limit, and reports the time of a long one.
func TestProcoreRateLimit(t *testing.T) {
	commandtest.Settings(t, 7, 8)
	publishRequests(t)
	for _, c := range []struct {
		after, says string
		code        int
		calls       int32
	}{
		{"1", "(2 calls)", 0, 2},
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
	var s operatorv1.Timeline
	if err := protojson.Unmarshal([]byte(out), &s); err != nil || code != 0 || errs != "" {
		t.Fatalf("exit %d, %v: %s", code, err, errs)
	}
	if len(s.Steps) != 4 || s.Steps[3].GetOutcome().CloseOuts[0].Marks[0].OriginId != "V-1" || s.Verdict == "" || s.Request.CompanyId != 7 || s.Current != nil {
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
	var doc strings.Builder
	if err := terminal.JSON(&doc, tr); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/trace.json", doc.String())
}

// example is a timeline with every kind of step: closed as failed, edited and replayed, and retried now.
func example() *operatorv1.Timeline {
	at := func(s float64) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC).Add(time.Duration(s * float64(time.Second))))
	}
	var steps []*operatorv1.Step
	step := func(stored, took float64, since, kind, run, by, text string, s *operatorv1.Step) {
		s.At, s.Took, s.Since, s.Kind, s.Run, s.By, s.Text = at(stored), durationpb.New(time.Duration(took*float64(time.Second))), since, kind, run, by, text
		s.Subject, s.Sequence = strings.TrimSuffix("tb."+kind+".export.create_vendor.598134325841112.1001."+run, "."), uint64(len(steps)+1)
		steps = append(steps, s)
	}
	event := func() *operatorv1.Step {
		return &operatorv1.Step{Message: &operatorv1.Step_Event{Event: &operatorv1.EventStep{PayloadBytes: 812}}}
	}
	outcome := func(o *operatorv1.OutcomeStep) *operatorv1.Step {
		return &operatorv1.Step{Message: &operatorv1.Step_Outcome{Outcome: o}}
	}
	done := func(kept string, updates ...string) *operatorv1.Step {
		return outcome(&operatorv1.OutcomeStep{ProcoreCalls: 2, CloseOuts: []*operatorv1.CloseOut{{
			RequestDetailId: 5, Status: "success", Record: `vendor "Acme"`, KeptStatus: kept, Updates: updates,
			Marks: []*operatorv1.Mark{{ItemType: "vendor", ItemId: 9, OriginId: "V-1", OriginCode: "ACME"}},
		}}})
	}
	failed := &operatorv1.OutcomeStep{ProcoreCalls: 1, Expired: true, DeadLettered: true, CloseOuts: []*operatorv1.CloseOut{{
		RequestDetailId: 5, Status: "failed", Record: `vendor "Acme"`, Messages: []string{"This could not be done within 15 minutes."},
	}}}
	step(0.4, 0.4, "created", "delivery", "", "", "delivery received", &operatorv1.Step{Message: &operatorv1.Step_Delivery{
		Delivery: &operatorv1.DeliveryStep{EventId: "01J", ApiVersion: "v4.0", UserId: 5, Occurred: at(0), Received: at(0.39)},
	}})
	step(1, 0.6, "delivery", "event", "", "fetcher", "fetched: create_vendor, 812 bytes", event())
	step(901, 900, "event", "outcome", "", "deadline", "", outcome(failed))
	step(901.1, 900.1, "event", "dead", "", "deadline", "deadline gave up after 12 attempts, dead letter 42: not finished within 15m0s: connection refused", &operatorv1.Step{
		Message: &operatorv1.Step_DeadLetter{DeadLetter: &operatorv1.DeadLetterStep{Id: 42, Stage: "deadline", Class: "transient", Cause: "erp", Attempts: 12, Error: "not finished within 15m0s: connection refused"}},
	})
	step(902, 1, "outcome", "closed", "", "status-reporter", "", outcome(failed))
	step(1300, 398.9, "dead_letter", "resolution", "42", "ann@office", "dead letter 42 was replayed by ann@office", &operatorv1.Step{
		Message: &operatorv1.Step_Resolution{Resolution: &operatorv1.ResolutionStep{DeadLetter: 42, Action: "replayed", Who: "ann@office", Replay: "tb.event.export.create_vendor.598134325841112.1001.42"}},
	})
	step(1301, 1, "resolution", "event", "42", "ann@office", "replayed: fetched: create_vendor, 812 bytes", event())
	step(1302, 1, "event", "outcome", "42", "export", "", done(""))
	step(1304, 2, "outcome", "closed", "42", "status-reporter", "", done("failed", "vendor 8 unlinked"))
	return &operatorv1.Timeline{
		Request: &operatorv1.RequestRow{CompanyId: 598134325841112, RequestId: 1001, Type: "create_vendor", Category: "export", Created: at(0), Class: string(request.InProgress)},
		Steps:   steps,
		Current: &operatorv1.Current{
			Stage: "export", Run: "43", Since: at(1301), DeliveryState: string(request.Delivered), Attempts: 3, LastAttempt: at(1302), NextAttempt: at(1310), Due: at(2201),
			Failure: &operatorv1.Failure{Class: "transient", Source: "erp", UserMessage: "The ERP is away.", Error: "connection refused"},
		},
		Procore:      &operatorv1.ProcoreState{Known: true, Type: "create_vendor", Created: at(0), Details: []*operatorv1.RequestDetail{{Id: 5, Status: "failed"}}, ProcoreCalls: 2},
		AccountedFor: true, Verdict: "run 43 waiting for the ERP since 12:21:41 UTC (5.0 s) at export, 3 attempts",
	}
}

// The run, the last token of a subject, is not validated by the broker.
func TestRunHasNoTerminalControlCharacters(t *testing.T) {
	tr := &operatorv1.Timeline{Request: &operatorv1.RequestRow{}, Steps: []*operatorv1.Step{{Run: "\x1b[2J", Kind: "event"}}, Current: &operatorv1.Current{Run: "\x1b[2J", Stage: "export"}}
	var out strings.Builder
	if err := printTrace(&out, tr); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b") || strings.Count(out.String(), `\u001b[2J`) != 2 {
		t.Errorf("%q", out.String())
	}
}

// The steps of a request that was not processed do not say that it was reported to Procore.
func TestStepOfSkippedRequest(t *testing.T) {
	s := &operatorv1.Step{Kind: "closed", Text: "not processed: rejected", Message: &operatorv1.Step_Outcome{Outcome: &operatorv1.OutcomeStep{
		SkipReason: "rejected", CloseOuts: []*operatorv1.CloseOut{{RequestDetailId: 5, Status: "unspecified", KeptStatus: "rejected"}},
	}}}
	if got := append([]string{stepText(s)}, stepLines(s)...); len(got) != 1 || got[0] != s.Text {
		t.Errorf("%q, want %q", got, s.Text)
	}
}
