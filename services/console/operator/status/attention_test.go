package status

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/trouble"
)

func seconds(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}

// Only what does not get better by itself needs attention.
func TestAttention(t *testing.T) {
	late := func(of RequestRef, age time.Duration) *Overdue { return &Overdue{of, age.Seconds()} }
	of := &RequestRef{Company: 7, Request: 12}
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.Local)
	later := now.Add(30 * time.Minute)
	for _, c := range []struct {
		name   string
		report Report
		want   string // "": nothing
	}{
		{"a long queue that is processed", Report{Queues: []Queue{{Stage: "export", Created: true, Known: true, Waiting: 1e6, Consumed: true, OldestAge: seconds(time.Minute), Oldest: of}}}, ""},
		{"a stopped stage without messages", Report{Queues: []Queue{{Stage: "export", Created: true, Known: true}}}, ""},
		{"a stage that never ran, without messages", Report{Queues: []Queue{{Stage: "export", Known: true}}}, ""},
		{"messages and no process", Report{Queues: []Queue{{Stage: "export", Created: true, Known: true, Waiting: 2}}}, "2 messages wait for export, and no process pulls them: start the service export"},
		{"one message and no process", Report{Queues: []Queue{{Stage: "export", Created: true, Known: true, Waiting: 1}}}, "1 message waits for export, and"},
		{"an old export that is not overdue", Report{Queues: []Queue{{Stage: "export", Created: true, Consumed: true, InFlight: 1, OldestAge: seconds(time.Hour), Oldest: of}}}, ""},
		{"an overdue export", Report{Queues: []Queue{{Stage: "export", Created: true, Consumed: true, InFlight: 1, OldestAge: seconds(time.Hour), Oldest: &RequestRef{Company: 7, Request: 9}, Overdue: late(*of, 17*time.Minute)}}}, "at an age of 17m0s: tieback trace 12 --company 7 shows"},
		{"a message on a foreign subject", Report{Queues: []Queue{{Stage: "export", Created: true, Consumed: true, InFlight: 1, OldestAge: seconds(time.Hour), Oldest: &RequestRef{}, Overdue: late(RequestRef{}, time.Hour)}}}, "on a subject that no service writes, see the log of export"},
		{"a letter", Report{Companies: []Company{{ID: 7, DeadLetters: 1}}}, "1 dead letter is unresolved"},
		{"letters", Report{Companies: []Company{{ID: 7, DeadLetters: 1}, {ID: 8, DeadLetters: 2}}}, "3 dead letters are unresolved"},
		{"a broker that does not answer", Report{Unread: []string{"the queue of sync: timeout"}}, "did not answer: the queue of sync"},
		{"reported failures", Report{Companies: []Company{{ID: 7, Failed: 9, Retrying: 3}}}, ""},
		{"credentials refused a moment ago", Report{Companies: []Company{{ID: 7, Refusal: &Refusal{Since: now.Add(-30 * time.Second), Status: 401}}}}, ""},
		{"credentials refused", Report{Companies: []Company{{ID: 7, Refusal: &Refusal{Since: now.Add(-2 * time.Minute), Status: 401}}}}, "the credentials of company 7 since 2026-11-29 11:58:00 (status 401), and no call to Procore can be made: correct client_id"},
		{"a shared client's", Report{Companies: []Company{{ID: 7, Client: "acme", Refusal: &Refusal{Since: now.Add(-time.Hour), Until: &later}}}}, "client acme (company 7 and all others that use it) since 2026-11-29 11:00:00 (status 0), and the previous token is used until 12:30:00"},
	} {
		v := &reading{Reader: &Reader{}, report: c.report, at: now}
		got := v.attention()
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.ContainsFunc(got, func(a Attention) bool { return strings.Contains(a.String(), c.want) }) {
			t.Errorf("%s: needs %q, want %q", c.name, got, c.want)
		}
	}
}

// A system that fails is reported with its company, the reason, since when, and what to do. A trouble that ends by itself, or
// is younger than a minute, is not reported.
func TestTroubledSystems(t *testing.T) {
	at := time.Date(2026, 12, 1, 12, 0, 0, 0, time.Local)
	of := func(source fault.Source, reason fault.Reason, ago time.Duration) Trouble {
		return Trouble{Source: source, Reason: reason, Class: "transient", Since: at.Add(-ago), Last: at, Error: "boom"}
	}
	for _, c := range []struct {
		name    string
		trouble Trouble
		want    string // "": nothing is called
	}{
		{"the ERP for two minutes", of(fault.FromERP, fault.NoAnswer, 2*time.Minute), "company 7 (Acme): its ERP has not answered since 2026-12-01 11:58:00 (2m0s): boom: tieback doctor --company 7"},
		{"the ERP for half a minute", of(fault.FromERP, fault.NoAnswer, 30*time.Second), ""},
		{"the ERP's password", of(fault.FromERP, fault.Denied, time.Hour), "company 7 (Acme): its ERP has refused our credentials, or a permission, since 2026-12-01 11:00:00 (1h0m0s): boom: tieback doctor --company 7"},
		{"the ERP's errors", of(fault.FromERP, "", time.Hour), "its ERP has answered with errors since"},
		{"Procore", of(fault.FromProcore, fault.NoAnswer, time.Hour), "Procore has not answered since"},
		{"Procore's 401", of(fault.FromProcore, fault.Denied, time.Hour), "Procore has refused our credentials, or a permission, since"},
		{"the connector's settings", of("", fault.Unopened, time.Hour), "its connector has refused its settings since"},
		{"the books", of("", fault.Damaged, time.Hour), "its ERP's books have been damaged since"},
		{"the hook", of(fault.FromProcore, fault.Undelivered, time.Hour), "Procore's deliveries have not reached ingest since"},
		{"a panic", of("", "", time.Hour), "attempts have failed in Tieback itself since"},
		{"Procore's limit", Trouble{Source: fault.FromProcore, Class: "throttled", Since: at.Add(-time.Hour)}, ""},
		{"an ERP that hangs, seen by those that have no turn", Trouble{Source: fault.FromERP, Class: "throttled", Reason: fault.NoAnswer, Since: at.Add(-time.Hour)}, "its ERP has not answered since"},
	} {
		v := &reading{Reader: New(nil, Options{}), at: at, report: Report{Companies: []Company{{ID: 7, Name: "Acme", Troubles: []Trouble{c.trouble}}}}}
		got := v.attention()
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0].String(), c.want)) {
			t.Errorf("%s: needs %q, want %q", c.name, got, c.want)
		}
	}
	var many []Company
	for id := range int64(9) {
		many = append(many, Company{ID: id + 1, Troubles: []Trouble{of(fault.FromProcore, fault.NoAnswer, time.Hour)}})
	}
	v := &reading{Reader: New(nil, Options{}), at: at, report: Report{Companies: many}}
	if got := v.attention(); len(got) != 1 || !strings.HasPrefix(got[0].String(), "9 companies (1, 2, 3, 4, 5 and others): Procore has not answered, the first since 2026-12-01 11:00:00") {
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
		v := &reading{Reader: &Reader{}, at: at, companies: map[int64]*Company{}}
		for _, recorded := range c.merged {
			v.addTrouble(recorded)
		}
		if got := v.companies[7].Troubles; len(got) != 1 || !got[0].Since.Equal(at.Add(c.since)) || got[0].Reason != c.reason {
			t.Errorf("%+v, want %s since %v", got, c.reason, at.Add(c.since))
		}
	}
}

// While a report is read from the embedded broker, tieback run is not running, even if messages are in flight.
func TestEmbeddedBroker(t *testing.T) {
	v := &reading{Reader: &Reader{Options: Options{Embedded: true}}, report: Report{Queues: []Queue{
		{Stage: "fetcher", Created: true, Known: true, Waiting: 1}, {Stage: "export", Created: true, Known: true, InFlight: 1, Waiting: 1, Overdue: &Overdue{RequestRef{Company: 7, Request: 12}, 3600}}, {Stage: "sync", Created: true, Known: true},
	}}}
	v.InvalidEntries = 1
	want := []string{"1 entry of the companies file has a mistake, and its company is not served: tieback doctor lists the mistakes",
		"a message at export is past its deadline, at an age of 1h0m0s: tieback trace 12 --company 7 shows why it waits",
		"tieback run is not running, and 1 message waits for fetcher, 2 messages wait for export: start tieback run"}
	var got []string
	for _, a := range v.attention() {
		got = append(got, a.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("needs %q, want %q", got, want)
	}
}
