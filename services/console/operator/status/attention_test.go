package status

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/trouble"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// Only what does not get better by itself needs attention.
func TestAttention(t *testing.T) {
	of := &operatorv1.RequestRef{CompanyId: 7, RequestId: 12}
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		report *operatorv1.Overview
		want   string // "": nothing
	}{
		{"a long queue that is processed", &operatorv1.Overview{Queues: []*operatorv1.Queue{{Stage: "export", Created: true, Known: true, Waiting: 1e6, Consumed: true, OldestAge: durationpb.New(time.Minute), Oldest: of}}}, ""},
		{"a stopped stage without messages", &operatorv1.Overview{Queues: []*operatorv1.Queue{{Stage: "export", Created: true, Known: true}}}, ""},
		{"a stage that never ran, without messages", &operatorv1.Overview{Queues: []*operatorv1.Queue{{Stage: "export", Known: true}}}, ""},
		{"messages and no process", &operatorv1.Overview{Queues: []*operatorv1.Queue{{Stage: "export", Created: true, Known: true, Waiting: 2}}}, "2 messages wait for export, and no process pulls them: start the service export"},
		{"one message and no process", &operatorv1.Overview{Queues: []*operatorv1.Queue{{Stage: "export", Created: true, Known: true, Waiting: 1}}}, "1 message waits for export, and"},
		{"an old export that is not overdue", &operatorv1.Overview{Queues: []*operatorv1.Queue{{Stage: "export", Created: true, Consumed: true, InFlight: 1, OldestAge: durationpb.New(time.Hour), Oldest: of}}}, ""},
		{"an overdue export", &operatorv1.Overview{Queues: []*operatorv1.Queue{{Stage: "export", Created: true, Consumed: true, InFlight: 1, OldestAge: durationpb.New(time.Hour), Oldest: &operatorv1.RequestRef{CompanyId: 7, RequestId: 9}, Overdue: of, OverdueAge: durationpb.New(17 * time.Minute)}}}, "at an age of 17m0s: see why it waits (tieback trace 12 --company 7)"},
		{"a message on a foreign subject", &operatorv1.Overview{Queues: []*operatorv1.Queue{{Stage: "export", Created: true, Consumed: true, InFlight: 1, OldestAge: durationpb.New(time.Hour), Oldest: &operatorv1.RequestRef{}, Overdue: &operatorv1.RequestRef{}, OverdueAge: durationpb.New(time.Hour)}}}, "on a subject that no service writes, see the log of export"},
		{"a dead letter", &operatorv1.Overview{Companies: []*operatorv1.CompanyState{{Id: 7, DeadLetters: 1}}}, "company 7 has 1 unresolved dead letter: replay or discard them (tieback dead list --company 7)"},
		{"dead letters", &operatorv1.Overview{Companies: []*operatorv1.CompanyState{{Id: 7, DeadLetters: 1}, {Id: 8, DeadLetters: 2}}}, "company 8 has 2 unresolved dead letters"},
		{"a broker that does not answer", &operatorv1.Overview{Unread: []string{"the queue of sync: timeout"}}, "did not answer: the queue of sync"},
		{"reported failures", &operatorv1.Overview{Companies: []*operatorv1.CompanyState{{Id: 7, Failed: 9, Retrying: 3}}}, ""},
		{"credentials refused a moment ago", &operatorv1.Overview{Companies: []*operatorv1.CompanyState{{Id: 7, Refusal: &operatorv1.Refusal{Since: timestamppb.New(now.Add(-30 * time.Second)), Status: 401}}}}, ""},
		{"credentials refused", &operatorv1.Overview{Companies: []*operatorv1.CompanyState{{Id: 7, Refusal: &operatorv1.Refusal{Since: timestamppb.New(now.Add(-2 * time.Minute)), Status: 401}}}}, "the credentials of company 7 since 2026-11-29 11:58:00 UTC (status 401), and no call to Procore can be made: correct client_id"},
		{"a shared client's", &operatorv1.Overview{Companies: []*operatorv1.CompanyState{{Id: 7, Client: "acme", Refusal: &operatorv1.Refusal{Since: timestamppb.New(now.Add(-time.Hour)), TokenUntil: timestamppb.New(now.Add(30 * time.Minute))}}}}, "client acme (company 7 and all others that use it) since 2026-11-29 11:00:00 UTC (status 0), and the previous token is used until 2026-11-29 12:30:00 UTC"},
	} {
		v := &overview{Reading: &Reading{Reader: &Reader{}, at: now}, report: c.report}
		got := v.attention()
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.ContainsFunc(got, func(a *operatorv1.Attention) bool { return strings.Contains(Line(a), c.want) }) {
			t.Errorf("%s: needs %q, want %q", c.name, got, c.want)
		}
	}
}

// A system that fails is reported with its company, the reason, since when, and what to do. A trouble that ends by itself, or
// is younger than a minute, is not reported.
func TestTroubledSystems(t *testing.T) {
	at := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	of := func(source fault.Source, reason fault.Reason, ago time.Duration) *operatorv1.Trouble {
		return &operatorv1.Trouble{Source: string(source), Reason: string(reason), Class: "transient", Since: timestamppb.New(at.Add(-ago)), Last: timestamppb.New(at), Error: "boom"}
	}
	for _, c := range []struct {
		name    string
		trouble *operatorv1.Trouble
		want    string // "": nothing is called
	}{
		{"the ERP for two minutes", of(fault.FromERP, fault.NoAnswer, 2*time.Minute), "company 7 (Acme): its ERP has not answered since 2026-12-01 11:58:00 UTC (2m0s): boom: check the company (tieback doctor --company 7)"},
		{"the ERP for half a minute", of(fault.FromERP, fault.NoAnswer, 30*time.Second), ""},
		{"the ERP's password", of(fault.FromERP, fault.Denied, time.Hour), "company 7 (Acme): its ERP has refused our credentials, or a permission, since 2026-12-01 11:00:00 UTC (1h0m0s): boom: check the company (tieback doctor --company 7)"},
		{"the ERP's errors", of(fault.FromERP, "", time.Hour), "its ERP has answered with errors since"},
		{"Procore", of(fault.FromProcore, fault.NoAnswer, time.Hour), "Procore has not answered since"},
		{"Procore's 401", of(fault.FromProcore, fault.Denied, time.Hour), "Procore has refused our credentials, or a permission, since"},
		{"the connector's settings", of("", fault.Unopened, time.Hour), "its connector has refused its settings since"},
		{"the books", of("", fault.Damaged, time.Hour), "its ERP's books have been damaged since"},
		{"the hook", of(fault.FromProcore, fault.Undelivered, time.Hour), "Procore's deliveries have not reached ingest since"},
		{"a panic", of("", "", time.Hour), "attempts have failed in Tieback itself since"},
		{"Procore's limit", &operatorv1.Trouble{Source: "procore", Class: "throttled", Since: timestamppb.New(at.Add(-time.Hour))}, ""},
		{"an ERP that hangs, seen by those that have no turn", &operatorv1.Trouble{Source: "erp", Class: "throttled", Reason: string(fault.NoAnswer), Since: timestamppb.New(at.Add(-time.Hour))}, "its ERP has not answered since"},
	} {
		v := &overview{Reading: &Reading{Reader: New(nil, Options{}), at: at}, report: &operatorv1.Overview{Companies: []*operatorv1.CompanyState{{Id: 7, Name: "Acme", Troubles: []*operatorv1.Trouble{c.trouble}}}}}
		got := v.attention()
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(Line(got[0]), c.want)) {
			t.Errorf("%s: needs %q, want %q", c.name, got, c.want)
		}
	}
	var many []*operatorv1.CompanyState
	for id := range int64(9) {
		many = append(many, &operatorv1.CompanyState{Id: id + 1, Troubles: []*operatorv1.Trouble{of(fault.FromProcore, fault.NoAnswer, time.Hour)}})
	}
	v := &overview{Reading: &Reading{Reader: New(nil, Options{}), at: at}, report: &operatorv1.Overview{Companies: many}}
	if got := v.attention(); len(got) != 1 || !strings.HasPrefix(Line(got[0]), "9 companies (1, 2, 3, 4, 5 and others): Procore has not answered, the first since 2026-12-01 11:00:00 UTC") {
		t.Errorf("of many: %q", got)
	}
}

// The troubles that several services record of one system are merged: since the first, with the last reason.
func TestTroublesOfOneSystemAreMerged(t *testing.T) {
	at := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	of := func(since, last time.Duration, reason fault.Reason) trouble.Trouble {
		return trouble.Trouble{Company: 7, Source: fault.FromProcore, Reason: reason, Since: at.Add(since), Last: at.Add(last)}
	}
	for _, c := range []struct {
		merged []trouble.Trouble
		since  time.Duration
		reason fault.Reason
	}{
		{[]trouble.Trouble{of(1, 9, fault.NoAnswer), of(3, 7, fault.NoAnswer)}, 1, fault.NoAnswer},
		{[]trouble.Trouble{of(3, 9, fault.NoAnswer), of(1, 7, fault.NoAnswer)}, 1, fault.NoAnswer},
		{[]trouble.Trouble{of(1, 7, fault.NoAnswer), of(3, 9, fault.Denied)}, 3, fault.Denied},
	} {
		v := &Reading{Reader: &Reader{}, at: at, companies: map[int64]*operatorv1.CompanyState{}}
		for _, recorded := range c.merged {
			v.addTrouble(recorded)
		}
		if got := v.companies[7].Troubles; len(got) != 1 || !got[0].Since.AsTime().Equal(at.Add(c.since)) || got[0].Reason != string(c.reason) {
			t.Errorf("%+v, want %s since %v", got, c.reason, at.Add(c.since))
		}
	}
}

// While a report is read from the embedded broker, tieback run is not running, even if messages are in flight.
func TestEmbeddedBroker(t *testing.T) {
	v := &overview{Reading: &Reading{Reader: &Reader{Options: Options{Embedded: true}}}, report: &operatorv1.Overview{Queues: []*operatorv1.Queue{
		{Stage: "fetcher", Created: true, Known: true, Waiting: 1}, {Stage: "export", Created: true, Known: true, InFlight: 1, Waiting: 1, Overdue: &operatorv1.RequestRef{CompanyId: 7, RequestId: 12}, OverdueAge: durationpb.New(time.Hour)}, {Stage: "sync", Created: true, Known: true},
	}}}
	v.InvalidEntries = 1
	want := []string{"1 entry of the companies file has a mistake, and its company is not served: correct the entries and restart Tieback (tieback doctor)",
		"a message at export is past its deadline, at an age of 1h0m0s: see why it waits (tieback trace 12 --company 7)",
		"tieback run is not running, and 1 message waits for fetcher, 2 messages wait for export: start it (tieback run)"}
	var got []string
	for _, a := range v.attention() {
		got = append(got, Line(a))
	}
	if !slices.Equal(got, want) {
		t.Errorf("needs %q, want %q", got, want)
	}
}

// A report of one company has nothing of the others: no state, no problem and no request.
func TestReportOfOneCompany(t *testing.T) {
	now := time.Now()
	q := &queue{report: &operatorv1.Queue{Stage: "export", Created: true, Known: true}}
	v := &Reading{Reader: New(nil, Options{Deadlines: request.Deadlines{Interactive: time.Minute}}), at: now, queues: []*queue{q}, companies: map[int64]*operatorv1.CompanyState{}}
	for id := range int64(9) {
		c := v.company(id + 1)
		c.DeadLetters, c.Troubles = 1, []*operatorv1.Trouble{{Source: "procore", Reason: string(fault.NoAnswer), Since: timestamppb.New(now.Add(-time.Hour))}}
		v.addUnfinished(q, bus.Message{Subject: bus.For(bus.Delivery, "", id+1, 12), Stored: now.Add(-time.Duration(20-id) * time.Hour)})
		v.addNote(id+1, "company %d: a note", id+1)
		v.pauses = append(v.pauses, state.Pause{Company: id + 1})
	}
	o := v.Overview([]int64{7})
	if len(o.Companies) != 1 || o.Companies[0].Id != 7 || o.Queues[0].Oldest.GetCompanyId() != 7 || o.Queues[0].Overdue.GetCompanyId() != 7 {
		t.Errorf("%v", o)
	}
	for _, a := range o.Attention {
		if a.CompanyId != 7 || a.Count > 1 || strings.Contains(a.Text, "companies") {
			t.Errorf("attention %v", a)
		}
	}
	if len(o.Attention) != 4 || len(o.Notes) != 1 || !strings.HasPrefix(o.Notes[0], "company 7:") {
		t.Errorf("%d problems, want overdue, Procore, a dead letter and a pause: %v; notes: %v", len(o.Attention), o.Attention, o.Notes)
	}
	if all := v.Overview(nil); len(all.Companies) != 9 || all.Queues[0].Oldest.GetCompanyId() != 1 || all.Queues[0].Overdue.GetCompanyId() != 1 || len(all.Notes) != 9 {
		t.Errorf("of all companies: %v", all)
	}
}
