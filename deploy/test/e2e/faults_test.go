package endtoend

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
)

// faults has the faults of a call, in order. Go's HTTP client retries a GET after a reset, so one reset is not noticed.
var faults = map[string][]sandbox.FaultRule{
	"429":                  {{Kind: sandbox.FaultStatus, Status: 429, RetryAfter: 1}},
	"503 with Retry-After": {{Kind: sandbox.FaultStatus, Status: 503, RetryAfter: 1}},
	"500 three times":      {{Kind: sandbox.FaultStatus, Status: 500, Times: 3}},
	"hang":                 {{Kind: sandbox.FaultHang, Times: 2}},
	"reset":                {{Kind: sandbox.FaultReset, Times: 4}},
	"lost answer":          {{Kind: sandbox.FaultLoseAnswer, Times: 2}},
	"expired token":        {{Kind: sandbox.FaultExpire}},
	"a bit of everything": {
		{Kind: sandbox.FaultExpire}, {Kind: sandbox.FaultLoseAnswer}, {Kind: sandbox.FaultStatus, Status: 502}, {Kind: sandbox.FaultReset, Times: 2},
		{Kind: sandbox.FaultStatus, Status: 429, RetryAfter: 1}, {Kind: sandbox.FaultHang}, {Kind: sandbox.FaultLoseAnswer},
	},
}

// targets has the calls that fail, with their stage and an event type.
var targets = []struct{ stop, path, eventType string }{
	{"fetcher", "/erp_requests/", "create_vendor"},
	{"worker", "staged_records/sync", "sync_vendors"},
	{"status-reporter", "external_data/sync", "create_vendor"},
	{"status-reporter", "erp_request_details/sync", "create_vendor"},
}

// Each pair of a fault and a call has a company of its own. The event succeeds, is booked once, and is not reported as
// success before its marks are made.
func TestEventsSurviveFaultsOfProcore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{companies: len(faults) * len(targets), timeout: time.Second})
	l := w.run()
	type trial struct {
		name             string
		company, request int64
		eventType, path  string
	}
	var trials []trial
	for name, rules := range faults {
		for _, target := range targets {
			tr := trial{name: fmt.Sprint(target.stop, " ", target.path, " ", name), company: firstCompany + int64(len(trials)), eventType: target.eventType, path: target.path}
			for _, rule := range rules {
				rule.Path, rule.CompanyID = target.path, tr.company
				w.must(w.sandbox.Fail(rule))
			}
			if target.eventType == "sync_vendors" {
				w.add(l, tr.company, "Acme Concrete")
			}
			tr.request = w.pressIn(tr.company, tr.eventType, nil)
			trials = append(trials, tr)
		}
	}
	for _, tr := range trials {
		w.succeeded(tr.request)
		calls := 0
		for _, c := range w.sandbox.Calls() {
			if c.CompanyID == tr.company && strings.Contains(c.Path, tr.path) {
				calls++
			}
		}
		if calls < 2 {
			t.Errorf("%s: the call was made %d times, so the fault had no effect", tr.name, calls)
		}
		booked := w.sound(l.Ledger, tr.company, ledger.Vendor)
		if len(booked) != 1 {
			t.Errorf("%s: %d vendors in the books, want 1", tr.name, len(booked))
		}
		if staged := w.sandbox.Staged(tr.company, "vendor"); tr.eventType == "sync_vendors" && (len(staged) != 1 || staged[0].Status != "staged") {
			t.Errorf("%s: staged %+v, want the vendor once", tr.name, staged)
		}
		if _, ok := w.sandbox.Synced(tr.company, "vendor", booked[0].OriginId); ok != (tr.eventType == "create_vendor") {
			t.Errorf("%s: is the vendor %s synced? %v", tr.name, booked[0].OriginId, ok)
		}
	}
}

// add adds a vendor in the ERP.
func (w *world) add(l *line, company int64, name string) {
	w.Helper()
	books, err := l.Ledger.Company(w.Context(), company)
	w.must(err)
	_, err = books.Add(w.Context(), &ledger.Record{Entity: ledger.Vendor, Name: name})
	w.must(err)
	w.must(books.Close())
}
