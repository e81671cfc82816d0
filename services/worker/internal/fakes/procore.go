package fakes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tieback/tieback/pkg/procore/schema/schematest"
)

// Request is a write that Procore got.
type Request struct {
	Method string         `json:"method"`
	Path   string         `json:"path"`
	Query  string         `json:"query,omitempty"`
	Body   map[string]any `json:"body"`
}

// Procore answers sync actions and updates, and records them. A call that differs from its
// published operation fails the test, and so does another call than these.
type Procore struct {
	Server   *httptest.Server
	Refuse   map[string]string // by origin id: why the item is refused inside the 200
	Mute     bool              // echoes refused items without their ids
	Fail     int               // status of every call from FailFrom on; 0: none fail
	FailFrom int
	Gone     map[int64]bool // ids that were deleted: an update that names one is refused

	t        *testing.T
	company  string
	mu       sync.Mutex
	requests []Request
	ids      map[string]int64
}

// syncs are the sync actions.
var syncs = []string{
	"/rest/v1.0/companies/7/staged_records/sync", "/rest/v1.0/standard_cost_codes/sync", "/rest/v1.0/line_item_types/sync", "/rest/v1.0/vendors/sync",
	"/rest/v1.0/projects/sync", "/rest/v1.0/sub_jobs/sync", "/rest/v1.0/cost_codes/sync", "/rest/v1.0/erp_job_costs/sync", "/rest/v1.0/insurances/sync",
	"/rest/v1.0/companies/7/invoice_payments/sync",
}

// NewProcore starts a Procore for company 7.
func NewProcore(t *testing.T) *Procore {
	p := &Procore{t: t, company: "7", ids: map[string]int64{}}
	p.Server = httptest.NewServer(schematest.Handler(t, http.HandlerFunc(p.serve)))
	t.Cleanup(p.Server.Close)
	return p
}

// Requests gives the writes since the last time it was asked.
func (p *Procore) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.requests
	p.requests = nil
	return out
}

func (p *Procore) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/oauth/token" {
		fmt.Fprint(w, `{"access_token":"token","token_type":"bearer","expires_in":5400}`)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	req := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery}
	if err := json.NewDecoder(r.Body).Decode(&req.Body); err != nil || r.Method != "PATCH" || r.Header.Get("Procore-Company-Id") != p.company {
		p.t.Errorf("%s %s: company %q, body: %v", r.Method, r.URL, r.Header.Get("Procore-Company-Id"), err)
	}
	if p.Fail != 0 && len(p.requests)+1 >= p.FailFrom {
		w.WriteHeader(p.Fail)
		fmt.Fprint(w, `{"message":"out of order"}`)
		return
	}
	p.requests = append(p.requests, req)
	answer, ok := p.answer(r, req.Body)
	if !ok {
		p.t.Errorf("%s %s with %v is no call of the contract", r.Method, r.URL, req.Body)
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		p.t.Error(err)
	}
}

func (p *Procore) answer(r *http.Request, body map[string]any) (any, bool) {
	if !slices.Contains(syncs, r.URL.Path) {
		return map[string]any{}, !strings.HasSuffix(r.URL.Path, "/sync")
	}
	return p.sync(r.URL.RequestURI(), body)
}

func (p *Procore) sync(uri string, body map[string]any) (any, bool) {
	items, _ := body["updates"].([]any)
	entities, errs := []any{}, []any{}
	for _, i := range items {
		item, isObject := i.(map[string]any)
		origin, _ := item["origin_id"].(string)
		if !isObject || origin == "" {
			return nil, false
		}
		if why := p.Refuse[origin]; why != "" {
			errs = append(errs, p.refusal(item, why))
			continue
		}
		if id, _ := item["id"].(float64); p.Gone[int64(id)] {
			errs = append(errs, p.refusal(item, "could not be found"))
			continue
		}
		entities = append(entities, map[string]any{"id": p.id(uri+origin, item["id"]), "origin_id": origin})
	}
	return map[string]any{"entities": entities, "errors": errs}, len(items) > 0 && len(items) <= 1000
}

func (p *Procore) refusal(item map[string]any, why string) map[string]any {
	echo := map[string]any{"errors": map[string]any{"name": []any{why}}}
	if !p.Mute {
		echo["origin_id"] = item["origin_id"]
	}
	return echo
}

// id gives an item's id: the one it names, or one that stays the same.
func (p *Procore) id(key string, named any) int64 {
	if id, ok := named.(float64); ok {
		p.ids[key] = int64(id)
	}
	if p.ids[key] == 0 {
		p.ids[key] = 9_000_000_000 + int64(len(p.ids)) // needs 64 bits
	}
	return p.ids[key]
}
