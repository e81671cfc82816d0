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

// A person is called for what will not mend itself, and for nothing else.
func TestWhatNeedsAPerson(t *testing.T) {
	late := func(of Event, age time.Duration) *Overdue { return &Overdue{of, age.Seconds()} }
	of := &Event{Company: 7, Request: 12}
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.Local)
	later := now.Add(30 * time.Minute)
	for _, c := range []struct {
		name   string
		report Report
		want   string // "": nobody
	}{
		{"a deep queue that is worked", Report{Queues: []Queue{{Stop: "export", Made: true, Known: true, Waiting: 1e6, Taken: true, Oldest: seconds(time.Minute), Of: of}}}, ""},
		{"an idle stop that nobody runs", Report{Queues: []Queue{{Stop: "export", Made: true, Known: true}}}, ""},
		{"a stop that never ran and has nothing to do", Report{Queues: []Queue{{Stop: "export", Known: true}}}, ""},
		{"work that nobody takes", Report{Queues: []Queue{{Stop: "export", Made: true, Known: true, Waiting: 2}}}, "nobody takes the 2 messages"},
		{"one message that nobody takes", Report{Queues: []Queue{{Stop: "export", Made: true, Known: true, Waiting: 1}}}, "nobody takes the 1 message that waits for export"},
		{"an old export that is not overdue", Report{Queues: []Queue{{Stop: "export", Made: true, Taken: true, Out: 1, Oldest: seconds(time.Hour), Of: of}}}, ""},
		{"an overdue export", Report{Queues: []Queue{{Stop: "export", Made: true, Taken: true, Out: 1, Oldest: seconds(time.Hour), Of: &Event{Company: 7, Request: 9}, Overdue: late(*of, 17*time.Minute)}}}, "waited for 17m0s: tieback trace 12 --company 7"},
		{"what no service of ours wrote", Report{Queues: []Queue{{Stop: "export", Made: true, Taken: true, Out: 1, Oldest: seconds(time.Hour), Of: &Event{}, Overdue: late(Event{}, time.Hour)}}}, "on no subject of ours: see the log of export"},
		{"a letter", Report{Companies: []Company{{ID: 7, Dead: 1}}}, "1 dead letter waits"},
		{"letters", Report{Companies: []Company{{ID: 7, Dead: 1}, {ID: 8, Dead: 2}}}, "3 dead letters wait"},
		{"a broker that does not answer", Report{Unasked: []string{"the queue of sync: timeout"}}, "does not answer for the queue of sync"},
		{"failures that were told", Report{Companies: []Company{{ID: 7, Failed: 9, Retrying: 3}}}, ""},
		{"credentials refused a moment ago", Report{Companies: []Company{{ID: 7, Refusal: &Refusal{Since: now.Add(-30 * time.Second), Status: 401}}}}, ""},
		{"credentials refused", Report{Companies: []Company{{ID: 7, Refusal: &Refusal{Since: now.Add(-2 * time.Minute), Status: 401}}}}, "the credentials of company 7 since 2026-11-29 11:58:00 (401), and no call of Procore can be made: correct client_id"},
		{"a shared client's", Report{Companies: []Company{{ID: 7, Client: "acme", Refusal: &Refusal{Since: now.Add(-time.Hour), Until: &later}}}}, "client acme (company 7 and all others that have it) since 2026-11-29 11:00:00 (0), and the token from before is used until 12:30:00"},
	} {
		v := &look{Looker: &Looker{}, report: c.report, at: now}
		got := v.needs()
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.ContainsFunc(got, func(n string) bool { return strings.Contains(n, c.want) }) {
			t.Errorf("%s: needs %q, want %q", c.name, got, c.want)
		}
	}
}

// A system that does not do its part is named with its company, why, since when, and what to run; one that passes
// by itself, or has lasted for less than a minute, calls nobody.
func TestWhoseSystemDoesNotDoItsPart(t *testing.T) {
	at := time.Date(2026, 12, 1, 12, 0, 0, 0, time.Local)
	of := func(source fault.Source, reason fault.Reason, ago time.Duration) Trouble {
		return Trouble{Source: source, Reason: reason, Class: "transient", Since: at.Add(-ago), Last: at, Error: "boom"}
	}
	for _, c := range []struct {
		name    string
		trouble Trouble
		want    string // "": nobody is called
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
		v := &look{Looker: New(nil, Options{}), at: at, report: Report{Companies: []Company{{ID: 7, Name: "Acme", Troubles: []Trouble{c.trouble}}}}}
		got := v.needs()
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%s: needs %q, want %q", c.name, got, c.want)
		}
	}
	var many []Company
	for id := range int64(9) {
		many = append(many, Company{ID: id + 1, Troubles: []Trouble{of(fault.FromProcore, fault.NoAnswer, time.Hour)}})
	}
	v := &look{Looker: New(nil, Options{}), at: at, report: Report{Companies: many}}
	if got := v.needs(); len(got) != 1 || !strings.HasPrefix(got[0], "9 companies (1, 2, 3, 4, 5 and others): Procore has not answered, of the first since 2026-12-01 11:00:00") {
		t.Errorf("of many: %q", got)
	}
}

// What several services note of one system is one trouble: since the first of them saw it, as the last did.
func TestWhatSeveralServicesSayIsOneTrouble(t *testing.T) {
	at := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	of := func(since, last time.Duration, reason fault.Reason) trouble.Trouble {
		return trouble.Trouble{Company: 7, Source: fault.FromProcore, Reason: reason, Since: at.Add(since), Last: at.Add(last)}
	}
	for _, c := range []struct {
		said   []trouble.Trouble
		since  time.Duration
		reason fault.Reason
	}{
		{[]trouble.Trouble{of(1, 9, fault.NoAnswer), of(3, 7, fault.NoAnswer)}, 1, fault.NoAnswer},
		{[]trouble.Trouble{of(3, 9, fault.NoAnswer), of(1, 7, fault.NoAnswer)}, 1, fault.NoAnswer},
		{[]trouble.Trouble{of(1, 7, fault.NoAnswer), of(3, 9, fault.Denied)}, 3, fault.Denied},
	} {
		v := &look{Looker: &Looker{}, at: at, companies: map[int64]*Company{}}
		for _, said := range c.said {
			v.trouble(said)
		}
		if got := v.companies[7].Troubles; len(got) != 1 || !got[0].Since.Equal(at.Add(c.since)) || got[0].Reason != c.reason {
			t.Errorf("%+v, want %s since %v", got, c.reason, at.Add(c.since))
		}
	}
}

// Nobody can run beside the embedded broker while it is looked at, not even who was handed something last.
func TestTheEmbeddedBrokerIsWorkedByNobody(t *testing.T) {
	v := &look{Looker: &Looker{Options: Options{Embedded: true}}, report: Report{Queues: []Queue{
		{Stop: "fetcher", Made: true, Known: true, Waiting: 1}, {Stop: "export", Made: true, Known: true, Out: 1, Waiting: 1, Overdue: &Overdue{Event{Company: 7, Request: 12}, 3600}}, {Stop: "sync", Made: true, Known: true},
	}}}
	v.Unserved = 1
	want := []string{"1 entry of the companies file has a mistake, and its company is not served: tieback doctor says what to correct",
		"the oldest at export has waited for 1h0m0s: tieback trace 12 --company 7 says for what",
		"tieback run is not running: 1 message waits for fetcher, 2 messages wait for export, and are worked when it runs"}
	if got := v.needs(); !slices.Equal(got, want) {
		t.Errorf("needs %q, want %q", got, want)
	}
}
