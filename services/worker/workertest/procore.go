package workertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// Request is a call that Procore received.
type Request struct {
	Method string         `json:"method"`
	Path   string         `json:"path"`
	Query  string         `json:"query,omitempty"`
	Body   map[string]any `json:"body,omitempty"`
}

// String returns the method and the URI.
func (r Request) String() string {
	if r.Query == "" {
		return r.Method + " " + r.Path
	}
	return r.Method + " " + r.Path + "?" + r.Query
}

// Procore is an http.Handler that records calls. It accepts the items of sync actions and answers any other call with
// 200 and {}. The zero value is ready for use.
type Procore struct {
	Status     map[string]int // the status of a call: "DELETE /rest/v1.0/cost_codes/3"; missing: 200
	Fail       int            // the status of every call from FailFrom on, counted since the last Take; 0: no call fails
	FailFrom   int
	RefuseItem map[string]string // by origin id: the reason why a sync action refuses the item
	Unnamed    bool              // refused items are echoed without their ids
	Deleted    map[int64]bool    // ids that do not exist any more: a sync action refuses an update of one
	Requests   []Request         // the calls in order, except logins
	mu         sync.Mutex
	ids        map[string]int64
}

// Take returns the recorded calls and clears them.
func (p *Procore) Take() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.Requests
	p.Requests = nil
	return out
}

// ServeHTTP answers a call.
func (p *Procore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if got, want := r.Header.Get("Procore-Company-Id"), fmt.Sprint(Company); got != want {
		refuse(w, http.StatusForbidden, fmt.Sprintf("the header Procore-Company-Id is %q, it must be %s", got, want))
		return
	}
	req := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery}
	if r.Method == http.MethodPatch || r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&req.Body); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	if p.Fail != 0 && len(p.Requests)+1 >= p.FailFrom {
		refuse(w, p.Fail, "out of order")
		return
	}
	p.Requests = append(p.Requests, req)
	if status := p.Status[r.Method+" "+r.URL.Path]; status != 0 {
		w.Header().Set("Retry-After", "0")
		refuse(w, status, "no")
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/sync") {
		fmt.Fprint(w, `{}`)
		return
	}
	p.sync(w, r.URL.RequestURI(), req.Body)
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

// sync answers a sync action with the ids of the items that it accepts.
func (p *Procore) sync(w http.ResponseWriter, uri string, body map[string]any) {
	items, _ := body["updates"].([]any)
	if len(items) == 0 || len(items) > 1000 {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("a sync action takes 1 to 1000 updates, not %d", len(items)))
		return
	}
	entities, errs := []any{}, []any{}
	for _, i := range items {
		item, _ := i.(map[string]any)
		origin, _ := item["origin_id"].(string)
		id, _ := item["id"].(float64)
		switch reason := p.RefuseItem[origin]; {
		case origin == "":
			refuse(w, http.StatusBadRequest, fmt.Sprintf("an update has no origin_id: %v", i))
			return
		case reason != "":
			errs = append(errs, p.refusal(item, reason))
		case p.Deleted[int64(id)]:
			errs = append(errs, p.refusal(item, "could not be found"))
		default:
			entities = append(entities, map[string]any{"id": p.id(uri+origin, int64(id)), "origin_id": origin})
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"entities": entities, "errors": errs})
}

func (p *Procore) refusal(item map[string]any, reason string) map[string]any {
	echo := map[string]any{"errors": map[string]any{"name": []any{reason}}}
	if !p.Unnamed {
		echo["origin_id"] = item["origin_id"]
	}
	return echo
}

// id returns the id of an item: the one that the update names, or a new one that stays the same.
func (p *Procore) id(key string, named int64) int64 {
	if p.ids == nil {
		p.ids = map[string]int64{}
	}
	if named != 0 {
		p.ids[key] = named
	}
	if p.ids[key] == 0 {
		p.ids[key] = 9_000_000_000 + int64(len(p.ids)) // needs 64 bits
	}
	return p.ids[key]
}
