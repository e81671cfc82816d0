package connection

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/erplog"
)

// Hook is a webhook in Procore with its triggers.
type Hook struct {
	ID         int64
	Namespace  string
	APIVersion string
	URL        string
	Header     string // Authorization as Procore shows it, often masked; "": not shown. A secret: never print it
	Triggers   []Trigger
	Failing    int // deliveries that Procore will retry; -1: unknown
}

// Trigger is a condition on which Procore calls a hook.
type Trigger struct {
	ID       int64
	Resource string
	Event    string
}

// ForRequests reports whether the trigger fires for new ERP requests. Procore shows "create" as CREATE.
func (t Trigger) ForRequests() bool {
	return strings.EqualFold(t.Resource, erpRequests) && strings.EqualFold(t.Event, "create")
}

const erpRequests = "ERP Requests"

// Listens returns the number of the hook's triggers for new ERP requests. It should be one.
func (h Hook) Listens() (n int) {
	for _, t := range h.Triggers {
		if t.ForRequests() {
			n++
		}
	}
	return n
}

// Hooks returns the company's hooks of a namespace with their triggers.
func (a *API) Hooks(ctx context.Context, namespace string) ([]Hook, error) {
	items, err := a.list(ctx, procore.Call{Route: procore.ListHooks, Query: procore.Query("company_id", a.Company, "namespace", namespace)})
	if err != nil {
		return nil, err
	}
	var hooks []Hook
	for _, item := range items {
		h := hookOf(item)
		if h.Namespace != namespace {
			continue
		}
		if h.Triggers, err = a.triggers(ctx, h); err != nil {
			return nil, err
		}
		h.Failing = a.failing(ctx, h)
		hooks = append(hooks, h)
	}
	return hooks, nil
}

// AllHooks returns the company's hooks of all namespaces that Procore shows, without their triggers.
func (a *API) AllHooks(ctx context.Context) ([]Hook, error) {
	items, err := a.list(ctx, procore.Call{Route: procore.ListHooks, Query: procore.Query("company_id", a.Company)})
	var hooks []Hook
	for _, item := range items {
		hooks = append(hooks, hookOf(item))
	}
	return hooks, err
}

func hookOf(item map[string]any) Hook {
	h := Hook{ID: procore.ID(item["id"]), Failing: -1}
	h.Namespace, _ = item["namespace"].(string)
	h.APIVersion, _ = item["api_version"].(string)
	h.URL, _ = item["destination_url"].(string)
	headers, _ := item["destination_headers"].(map[string]any)
	for name, v := range headers {
		if value, _ := v.(string); strings.EqualFold(name, "Authorization") {
			h.Header = value
		}
	}
	return h
}

func (a *API) triggers(ctx context.Context, h Hook) ([]Trigger, error) {
	items, err := a.list(ctx, procore.Call{Route: procore.ListTriggers, ID: h.ID, Query: procore.Query("company_id", a.Company)})
	var out []Trigger
	for _, item := range items {
		t := Trigger{ID: procore.ID(item["id"])}
		t.Resource, _ = item["resource_name"].(string)
		t.Event, _ = item["event_type"].(string)
		out = append(out, t)
	}
	return out, err
}

// failing returns the number of deliveries that Procore will retry, or -1 if Procore does not say, which is
// not an error.
func (a *API) failing(ctx context.Context, h Hook) int {
	r := &erplog.Reader{Session: a.Session, Company: a.Company, Namespace: h.Namespace, Backoff: a.Backoff, Waiting: a.Waiting}
	n, _, err := r.Failing(ctx, h.ID, erplog.DeliveryMark{}, func([]erplog.Logged) error { return nil })
	if err != nil {
		return -1
	}
	return n
}

// HookSettings are the settings of a hook to write. Empty ones do not change.
type HookSettings struct {
	APIVersion string            `json:"api_version,omitempty"`
	Namespace  string            `json:"namespace"`
	URL        string            `json:"destination_url,omitempty"`
	Headers    map[string]string `json:"destination_headers,omitempty"`
}

// CreateHook creates a hook.
func (a *API) CreateHook(ctx context.Context, h HookSettings) (Hook, error) {
	o, err := a.object(ctx, procore.Call{Route: procore.CreateHook, Body: map[string]any{"company_id": a.Company, "hook": h}})
	made := hookOf(o)
	if err == nil && made.ID == 0 {
		err = errors.New("hook_create: Procore's response has no id")
	}
	return made, err
}

// UpdateHook changes a hook in place.
func (a *API) UpdateHook(ctx context.Context, id int64, h HookSettings) error {
	_, err := a.do(ctx, procore.Call{Route: procore.UpdateHook, ID: id, Body: map[string]any{"company_id": a.Company, "hook": h}})
	return err
}

// DeleteHook deletes a hook with its triggers. It is no error if the hook does not exist.
func (a *API) DeleteHook(ctx context.Context, h Hook) error {
	return gone(a.do(ctx, procore.Call{Route: procore.DeleteHook, ID: h.ID, Query: procore.Query("company_id", a.Company)}))
}

// CreateTrigger creates the trigger for new ERP requests.
func (a *API) CreateTrigger(ctx context.Context, h Hook) error {
	body := map[string]any{"company_id": a.Company, "api_version": h.APIVersion, "trigger": map[string]string{"resource_name": erpRequests, "event_type": "create"}}
	_, err := a.do(ctx, procore.Call{Route: procore.CreateTrigger, ID: h.ID, Body: body})
	return err
}

// DeleteTrigger deletes a trigger. It is no error if the trigger does not exist.
func (a *API) DeleteTrigger(ctx context.Context, h Hook, id int64) error {
	return gone(a.do(ctx, procore.Call{Route: procore.DeleteTrigger, Hook: h.ID, ID: id, Query: procore.Query("company_id", a.Company)}))
}

func gone(_ []byte, err error) error {
	if procore.Gone(err) {
		return nil
	}
	return err
}

// Sends reports whether the hook sends a token, as far as Procore shows its header: completely, or only its
// last characters. shown is false if Procore shows too little.
func (h Hook) Sends(token company.Secret) (sends, shown bool) {
	want := "Bearer " + string(token)
	if subtle.ConstantTimeCompare([]byte(h.Header), []byte(want)) == 1 {
		return true, true
	}
	end, masked := h.End()
	if !masked {
		return false, h.Header != ""
	}
	return end != "" && strings.HasSuffix(want, end), end != ""
}

// shownEnd is the number of characters that Procore shows at the end of a masked header, according to its
// reference.
const shownEnd = 5

// End returns the visible end of a masked header, or "" if there is nothing to compare. masked is false if
// the header is not shown, or shown completely. Procore does not document its mask: End recognizes stars,
// dots and one repeated letter.
func (h Hook) End() (end string, masked bool) {
	hidden, end := h.Header[:max(0, len(h.Header)-shownEnd)], h.Header[max(0, len(h.Header)-shownEnd):]
	mask, whole := strings.CutPrefix(hidden, "Bearer ")
	if h.Header == "" || whole && mask != "" && !strings.ContainsAny(mask, maskSigns) && strings.Trim(mask, mask[:1]) != "" {
		return "", false
	}
	if strings.ContainsAny(end, maskSigns) {
		return "", true
	}
	return end, true
}

const maskSigns = "*•●…#[]<>"

func (h Hook) String() string { return fmt.Sprintf("webhook hook %d", h.ID) }
