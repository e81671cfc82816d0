package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/proto/tieback/operator/v1/operatorv1connect"
	"github.com/tieback/tieback/services/console/access"
)

var at = time.Date(2026, 11, 30, 7, 39, 10, 0, time.UTC)

func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(at.Add(-d)) }

// fake answers prepared messages, and records what it is asked. It checks no role: the pages' own checks are under test.
type fake struct {
	more     bool // a list has a next page
	mu       sync.Mutex
	asked    []proto.Message
	err      error
	overview *v1.Overview
	rows     []*v1.RequestRow
	timeline *v1.Timeline
	letter   *v1.GetDeadLetterResponse
	letters  *v1.ListDeadLettersResponse
	preview  *v1.PreviewReplayResponse
	results  []*v1.ReplayResult
	audit    *v1.AuditResponse
	checks   *v1.CheckResponse
	links    *v1.LinkReport
	setup    *v1.GetCompanyResponse
}

func (f *fake) record(m proto.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, m)
	return f.err
}

func answer[M any](f *fake, req proto.Message, m M) (M, error) {
	if err := f.record(req); err != nil {
		var none M
		return none, err
	}
	return m, nil
}

func (f *fake) api() API {
	return API{overviewOf{f: f}, requestsOf{f: f}, deadOf{f: f}, companiesOf{f: f}, reconciliationOf{f: f}}
}

type (
	overviewOf struct {
		operatorv1connect.UnimplementedOverviewServiceHandler
		f *fake
	}
	requestsOf struct {
		operatorv1connect.UnimplementedRequestServiceHandler
		f *fake
	}
	deadOf struct {
		operatorv1connect.UnimplementedDeadLetterServiceHandler
		f *fake
	}
	companiesOf struct {
		operatorv1connect.UnimplementedCompanyServiceHandler
		f *fake
	}
	reconciliationOf struct {
		operatorv1connect.UnimplementedReconciliationServiceHandler
		f *fake
	}
)

func (h overviewOf) GetOverview(_ context.Context, r *v1.GetOverviewRequest) (*v1.GetOverviewResponse, error) {
	return answer(h.f, r, &v1.GetOverviewResponse{Overview: h.f.overview})
}

func (h requestsOf) ListRequests(_ context.Context, r *v1.ListRequestsRequest) (*v1.ListRequestsResponse, error) {
	res := &v1.ListRequestsResponse{Requests: h.f.rows, IndexedUntil: ago(2 * time.Second)}
	if (len(h.f.rows) >= 50 || h.f.more) && r.GetPageToken() == "" {
		res.NextPageToken = "next/+token"
	}
	return answer(h.f, r, res)
}

func (h requestsOf) GetRequest(_ context.Context, r *v1.GetRequestRequest) (*v1.GetRequestResponse, error) {
	return answer(h.f, r, &v1.GetRequestResponse{Timeline: h.f.timeline})
}

func (h requestsOf) TryNow(_ context.Context, r *v1.TryNowRequest) (*v1.TryNowResponse, error) {
	return answer(h.f, r, &v1.TryNowResponse{Started: true, Text: "attempt 4 starts now"})
}

func (h deadOf) ListDeadLetters(_ context.Context, r *v1.ListDeadLettersRequest) (*v1.ListDeadLettersResponse, error) {
	return answer(h.f, r, h.f.letters)
}

func (h deadOf) GetDeadLetter(_ context.Context, r *v1.GetDeadLetterRequest) (*v1.GetDeadLetterResponse, error) {
	res := proto.CloneOf(h.f.letter)
	if !r.GetIncludePayload() && res != nil {
		res.Message = ""
	}
	return answer(h.f, r, res)
}

func (h deadOf) PreviewReplay(_ context.Context, r *v1.PreviewReplayRequest) (*v1.PreviewReplayResponse, error) {
	return answer(h.f, r, h.f.preview)
}

func (h deadOf) Replay(_ context.Context, r *v1.ReplayRequest) (*v1.ReplayResponse, error) {
	return answer(h.f, r, &v1.ReplayResponse{Results: h.f.results})
}

func (h deadOf) EditAndReplay(_ context.Context, r *v1.EditAndReplayRequest) (*v1.EditAndReplayResponse, error) {
	return answer(h.f, r, &v1.EditAndReplayResponse{Result: h.f.results[0]})
}

func (h deadOf) Discard(_ context.Context, r *v1.DiscardRequest) (*v1.DiscardResponse, error) {
	return answer(h.f, r, &v1.DiscardResponse{Results: h.f.results})
}

func (h companiesOf) ListCompanies(context.Context, *v1.ListCompaniesRequest) (*v1.ListCompaniesResponse, error) {
	if h.f.err != nil {
		return nil, h.f.err
	}
	return &v1.ListCompaniesResponse{Companies: h.f.overview.GetCompanies()}, nil
}

func (h companiesOf) GetCompany(_ context.Context, r *v1.GetCompanyRequest) (*v1.GetCompanyResponse, error) {
	return answer(h.f, r, h.f.setup)
}

func (h companiesOf) ListLinks(_ context.Context, r *v1.ListLinksRequest) (*v1.ListLinksResponse, error) {
	return answer(h.f, r, &v1.ListLinksResponse{Links: []*v1.Link{{ItemType: "vendor", ItemId: 12, OriginId: "V-1", RequestId: 3}}})
}

func (h companiesOf) CheckLinks(_ context.Context, r *v1.CheckLinksRequest) (*v1.CheckLinksResponse, error) {
	return answer(h.f, r, &v1.CheckLinksResponse{Report: h.f.links})
}

func (h companiesOf) RebuildLinks(_ context.Context, r *v1.RebuildLinksRequest) (*v1.RebuildLinksResponse, error) {
	return answer(h.f, r, &v1.RebuildLinksResponse{Report: h.f.links})
}

func (h companiesOf) Check(_ context.Context, r *v1.CheckRequest) (*v1.CheckResponse, error) {
	return answer(h.f, r, h.f.checks)
}

func (h companiesOf) Pause(_ context.Context, r *v1.PauseRequest) (*v1.PauseResponse, error) {
	return answer(h.f, r, &v1.PauseResponse{})
}

func (h companiesOf) Resume(_ context.Context, r *v1.ResumeRequest) (*v1.ResumeResponse, error) {
	return answer(h.f, r, &v1.ResumeResponse{})
}

func (h reconciliationOf) Audit(_ context.Context, r *v1.AuditRequest) (*v1.AuditResponse, error) {
	return answer(h.f, r, h.f.audit)
}

func (h reconciliationOf) Sweep(_ context.Context, r *v1.SweepRequest) (*v1.SweepResponse, error) {
	return answer(h.f, r, &v1.SweepResponse{FoundRequestIds: []int64{31}, ProcoreCalls: 4, Skipped: []string{"request 32 is older than since"}})
}

const acme = 598134325841112

// busy is a system at work, with things that need attention.
func busy() *fake {
	rate := func(r float64) *float64 { return &r }
	counts := func(f func(i int) int) (ns []uint32) {
		for i := range 60 {
			ns = append(ns, uint32(max(0, f(i)))) //nolint:gosec // small
		}
		return ns
	}
	f := &fake{overview: &v1.Overview{
		At: timestamppb.New(at), Window: durationpb.New(5 * time.Minute), Version: "0.9.0",
		Attention: []*v1.Attention{
			{Kind: "erp", CompanyId: acme, Stage: "export", Text: "The ERP of Acme Builders has not answered for 12 minutes.", Action: &v1.Action{Kind: "run-checks", Text: "start the ERP, or correct its address in the companies file", Page: "/companies/598134325841112/checks", Command: "tieback doctor"}, Since: ago(12 * time.Minute), Count: 37},
			{Kind: "dead-letters", CompanyId: 7, Text: "3 dead letters wait for a person.", Action: &v1.Action{Kind: "resolve-dead-letters", Text: "replay or discard them", Page: "/dead?company=7", Command: "tieback dead list"}, Since: ago(3 * time.Hour), Count: 3},
			{Kind: "paused", CompanyId: 8, Text: "Northwind is paused.", Action: &v1.Action{Kind: "resume", Text: "resume it when the reason has ended", Page: "/companies/8"}, Since: ago(26 * time.Hour)},
		},
		Queues: []*v1.Queue{
			{Stage: "fetcher", Known: true, Created: true, Consumed: true, ArrivedPerMinute: rate(12.4), FinishedPerMinute: rate(12.4)},
			{Stage: "export", Known: true, Created: true, Consumed: true, Waiting: 37, InFlight: 16, Redelivered: 16, OldestAge: durationpb.New(12 * time.Minute), Oldest: &v1.RequestRef{CompanyId: acme, RequestId: 41}, Overdue: &v1.RequestRef{CompanyId: acme, RequestId: 41}, ArrivedPerMinute: rate(3), FinishedPerMinute: rate(0)},
			{Stage: "sync", Known: true, Created: true, Consumed: true, InFlight: 1, OldestAge: durationpb.New(4 * time.Second), ArrivedPerMinute: rate(1), FinishedPerMinute: rate(1.2)},
			{Stage: "import", Known: true, Created: true, Consumed: true, ArrivedPerMinute: rate(0), FinishedPerMinute: rate(0)},
			{Stage: "unlink", Known: true, Created: true, Paused: true},
			{Stage: "reset"},
			{Stage: "status-reporter", Known: true, Created: true, Consumed: true, InFlight: 3, ArrivedPerMinute: rate(1240), FinishedPerMinute: rate(1238)},
		},
		Companies: []*v1.CompanyState{
			{Id: acme, Served: true, Name: "Acme Builders", Open: 53, OldestAge: durationpb.New(12 * time.Minute), Retrying: 16, Succeeded: 212, WaitingFor: "erp", Troubles: []*v1.Trouble{{Source: "erp", Reason: "no-answer", Error: "dial tcp 10.0.0.7:8000: connect: connection refused", Since: ago(12 * time.Minute), Last: ago(3 * time.Second)}}, Quota: &v1.Quota{Hour: &v1.RateWindow{Limit: 3600, Remaining: 2710, Reset_: timestamppb.New(at.Add(20 * time.Minute))}}, LastFailure: "connection refused"},
			{Id: 7, Name: "Bright & Sons Construction", Open: 1, Succeeded: 48, Failed: 2, DeadLetters: 3, WaitingFor: "person", Quota: &v1.Quota{Hour: &v1.RateWindow{Limit: 3600, Remaining: 310}, BlockedUntil: timestamppb.New(at.Add(90 * time.Second))}},
			{Id: 8, Name: "Northwind", Open: 4, AtLeast: true, Paused: []*v1.PausedStage{{Stage: "export", Who: "anna@example.com", At: ago(26 * time.Hour), Reason: "the ERP is upgraded on Monday"}}},
			{Id: 9, Name: "Quiet Harbor LLC", Quota: &v1.Quota{Hour: &v1.RateWindow{Limit: 3600, Remaining: 3600}}},
		},
		Series: []*v1.Series{
			{Name: "received", Start: ago(time.Hour), Counts: counts(func(i int) int { return 8 + i*7%11 })},
			{Name: "succeeded", Start: ago(time.Hour), Counts: counts(func(i int) int { return 8 + i*5%9 - max(0, i-45) })},
			{Name: "failed", Start: ago(time.Hour), Counts: counts(func(i int) int { return max(0, i-48) / 3 })},
			{Name: "quota_left", CompanyId: acme, Start: ago(time.Hour), Counts: counts(func(i int) int { return 100 - i })},
			{Name: "share", CompanyId: acme, Start: ago(time.Hour), Counts: counts(func(i int) int { return 40 })},
			{Name: "wait", CompanyId: acme, Start: ago(time.Hour), Counts: counts(func(i int) int { return 71 - i })},
			{Name: "wait_others", CompanyId: acme, Start: ago(time.Hour), Counts: counts(func(i int) int { return 5 })},
		},
	}}
	types := []string{"create_vendor", "create_purchase_order_contract", "update_commitment_change_order", "sync_cost_codes", "create_requisition"}
	states := []string{"attention", "failed", "open", "succeeded", "ignored"}
	for i := range 24 {
		r := &v1.RequestRow{CompanyId: acme, CompanyName: "Acme Builders", RequestId: int64(4100 - i), Type: types[i%len(types)], Category: "export", State: states[i/5], Record: fmt.Sprintf(`vendor "Alpha %d"`, i+1), Created: ago(time.Duration(i*i) * time.Minute)}
		switch r.State {
		case "attention":
			r.Reason, r.DeadLetter = "The ERP refused the vendor: the tax id 12-3456789 belongs to another vendor (V-0042).", uint64(42+i) //nolint:gosec // small
		case "failed":
			r.Reason, r.Ended = "Cost code 03-300 is not in the ERP. Sync the cost codes, then export the commitment again.", ago(time.Duration(i*i)*time.Minute-3*time.Second)
		case "open":
			r.Reason, r.Due, r.Stage = "Waits for the ERP: it does not answer.", timestamppb.New(at.Add(48*time.Minute)), "export"
		case "ignored":
			r.Reason = "Older than the company's since."
		}
		f.rows = append(f.rows, r)
	}
	f.timeline = &v1.Timeline{
		Request: f.rows[10], Verdict: "It waits for the ERP, which does not answer. The next attempt is in 40 s.", ProcoreUrl: "https://app.procore.com/598134325841112/company/vendors/12",
		Steps: []*v1.Step{
			{At: ago(12 * time.Minute), Kind: "delivery", By: "ingest", Text: "Procore delivered the request", Message: &v1.Step_Delivery{Delivery: &v1.DeliveryStep{EventId: "01JD8", ProjectId: 77, UserId: 5, Occurred: ago(12*time.Minute + time.Second)}}},
			{At: ago(12*time.Minute - 200*time.Millisecond), Took: durationpb.New(200 * time.Millisecond), Kind: "event", By: "fetcher", Text: "The request was fetched: create vendor", Message: &v1.Step_Event{Event: &v1.EventStep{PayloadBytes: 1832}}},
			{At: ago(9 * time.Minute), Took: durationpb.New(3 * time.Minute), Kind: "dead_letter", By: "export", Text: "Tieback gave up on the event", Message: &v1.Step_DeadLetter{DeadLetter: &v1.DeadLetterStep{Id: 42, Stage: "export", Cause: "erp", Attempts: 3, Error: "POST /vendors: 422 tax id is taken", UserMessage: "The ERP refused the vendor: its tax id belongs to another vendor."}}},
			{At: ago(8 * time.Minute), Took: durationpb.New(time.Minute), Kind: "outcome", By: "export", Text: "The outcome was published", Message: &v1.Step_Outcome{Outcome: &v1.OutcomeStep{CloseOuts: []*v1.CloseOut{{RequestDetailId: 991, Record: `vendor "Alpha 11"`, Status: "failed", Messages: []string{"The ERP refused the vendor: its tax id belongs to another vendor.\nChange the tax id in Procore and export the vendor again."}, Marks: []*v1.Mark{{ItemType: "vendor", ItemId: 12, OriginId: "V-11", OriginCode: "ALPHA"}}, Updates: []string{"link vendor 12 = V-11"}}}, ProcoreCalls: 2}}},
			{At: ago(7 * time.Minute), Kind: "resolution", By: "anna@example.com", Text: "Dead letter 42 was replayed", Message: &v1.Step_Resolution{Resolution: &v1.ResolutionStep{DeadLetter: 42, Action: "replayed", Who: "anna@example.com", Reason: "the tax id is corrected", Edited: true, Difference: "--- before\n+++ after\n@@ -1,2 +1,2 @@\n-  \"tax_id\": \"12-3456789\"\n+  \"tax_id\": \"98-7654321\"\n"}}},
		},
		Current: &v1.Current{Stage: "export", Run: "42", Since: ago(7 * time.Minute), DeliveryState: "waiting", Attempts: 3, LastAttempt: ago(20 * time.Second), NextAttempt: timestamppb.New(at.Add(40 * time.Second)), Due: timestamppb.New(at.Add(48 * time.Minute)), CanTryNow: true,
			Failure: &v1.Failure{Source: "erp", Error: "dial tcp 10.0.0.7:8000: connect: connection refused", UserMessage: "The ERP does not answer now. Nothing needs to be done; it is tried again."}},
		Procore: &v1.ProcoreState{Known: true, Type: "create_vendor", Created: ago(12 * time.Minute), Details: []*v1.RequestDetail{{Id: 991, Status: "in-progress"}}, ProcoreCalls: 2},
	}
	ref := &v1.RequestRef{CompanyId: acme, RequestId: 4100, Type: "create_vendor"}
	dead := func(n uint64, state string) *v1.DeadLetter {
		return &v1.DeadLetter{Id: n, At: ago(time.Hour), State: state, Request: ref, CompanyName: "Acme Builders", Category: "export", Stage: "export", Class: "permanent", Cause: "company-data", Attempts: 1, Error: "POST /vendors: 422: {\"tax_id\": [\"has already been taken\"]}", UserMessage: "The ERP refused the vendor: its tax id belongs to another vendor.", Subject: "tb.event.export.create_vendor.598134325841112.4100"}
	}
	f.letters = &v1.ListDeadLettersResponse{Total: 4, Causes: []*v1.CauseCount{{Cause: "company-data", Count: 3, WhoCanAct: "Somebody at the company corrects the record in Procore or the ERP."}, {Cause: "erp", Count: 1, WhoCanAct: "The operator of the ERP."}}}
	for i, state := range []string{"unresolved", "unresolved", "interrupted", "replayed"} {
		f.letters.DeadLetters = append(f.letters.DeadLetters, dead(uint64(45-i), state)) //nolint:gosec // small
	}
	f.letter = &v1.GetDeadLetterResponse{DeadLetter: dead(45, "unresolved"), Message: "{\n  \"id\": 4100,\n  \"vendor\": {\n    \"name\": \"Alpha\",\n    \"tax_id\": \"12-3456789\"\n  }\n}\n", Replayable: true, Reported: "yes", ReportedMessages: []string{"The ERP refused the vendor: its tax id belongs to another vendor."}, History: f.timeline.Steps[:2]}
	f.preview = &v1.PreviewReplayResponse{Total: 2, Previews: []*v1.ReplayPreview{{Id: 45, Replayable: true, Text: "The event is published as run 45. The export worker books vendor \"Alpha\".", Difference: "--- before\n+++ after\n@@ -3,3 +3,3 @@\n   \"vendor\": {\n-    \"tax_id\": \"12-3456789\"\n+    \"tax_id\": \"98-7654321\"\n"}, {Id: 44, Text: "It was replayed already, as run 44."}}}
	f.results = []*v1.ReplayResult{{Id: 45, Done: true}}
	f.audit = &v1.AuditResponse{CompanyId: acme, Since: ago(24 * time.Hour), Until: timestamppb.New(at), Requests: 289, Counts: map[string]int32{"success": 284, "in-progress": 3, "missed": 1, "dead": 1}, ProcoreCalls: 12, Findings: []*v1.AuditFinding{
		{RequestId: 4099, Type: "create_vendor", Class: "missing", Created: ago(3 * time.Hour), Why: "Procore lists the request, and no delivery arrived. Run a sweep.", OpenRequestDetails: []int64{991}},
		{RequestId: 4090, Type: "sync_cost_codes", Class: "in-progress", Stage: "sync", AccountedFor: true, Created: ago(time.Minute), Why: "The sync worker processes it."},
	}}
	f.setup = &v1.GetCompanyResponse{
		Connector: &v1.Connector{Driver: "remote", Name: "Demo ERP", Version: "5.0", MaxConcurrent: 4, PutStream: true, Currency: "USD", At: ago(time.Minute), Entities: []*v1.ConnectorEntity{{Name: "vendor", Put: true, List: true}, {Name: "purchase order", Put: true, Update: true, Tax: true}}},
		Links:     &v1.LinkReport{CompanyId: acme, At: ago(time.Hour), Lists: 3, Types: []*v1.LinkCount{{ItemType: "vendor", InProcore: 10, Same: 9, New: 1}}},
		Checks:    &v1.CheckResponse{At: ago(time.Hour), Problems: 2, Warnings: 1, Findings: []*v1.Finding{{Check: "webhook", Level: "problem", Text: "Procore has no webhook of namespace tieback."}}},
	}
	f.checks = &v1.CheckResponse{Problems: 1, Warnings: 1, Findings: []*v1.Finding{{Check: "broker", Level: "ok", Text: "The broker answers in 2 ms."}, {Check: "hook", Level: "problem", Text: "Procore has no webhook for this company.", Action: "Run tieback setup --company 598134325841112."}, {Check: "time zone", Level: "warning", Text: "No time zone is set; dates are in UTC.", Action: "Set time_zone."}}}
	f.links = &v1.LinkReport{CompanyId: acme, Types: []*v1.LinkCount{{ItemType: "vendor", InProcore: 10, Same: 9, New: 1}}, Changes: []*v1.LinkChange{{Kind: "new", ItemType: "vendor", ItemId: 12, ProcoreOriginId: "V-12", Saved: true}}}
	return f
}

// Callers of the tests.
var (
	viewer   = access.NewCaller("vera", access.Grant{Role: access.Viewer, All: true})
	operator = access.NewCaller("anna@example.com", access.Grant{Role: access.Operator, All: true, Payloads: true})
	noData   = access.NewCaller("otto", access.Grant{Role: access.Operator, All: true})
	other    = access.NewCaller("olga", access.Grant{Role: access.Operator, Companies: []int64{7}, Payloads: true}, access.Grant{Role: access.Viewer, All: true})
)

// visit is a request to the pages, as a caller.
func visit(t *testing.T, s *site, c access.Caller, method, path string, form url.Values, change ...func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r.WithContext(access.With(r.Context(), c)))
	return w
}

func pages(f *fake) *site {
	s := newSite(f.api(), zap.NewNop())
	s.now = func() time.Time { return at }
	return s
}

func refusal(code connect.Code, text string) error { return connect.NewError(code, errors.New(text)) }
