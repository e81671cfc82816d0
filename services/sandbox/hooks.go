package sandbox

import (
	"cmp"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// hookRegistry has all hooks. Its mutex guards the registry and the settings of the hooks. A hook's queue has a mutex of
// its own.
type hookRegistry struct {
	mu  sync.Mutex
	all map[int64]*hook

	rotation atomic.Int64 // of the formats of deliveries

	deliverer
}

// hook is a webhook of a company.
type hook struct {
	id         int64
	co         *company
	apiVersion string
	namespace  string
	url        string
	headers    map[string]string
	triggers   []trigger
	sb         *Sandbox

	queue
}

// trigger is a trigger of a hook. Procore returns its event type in capitals, in whichever case it was sent.
type trigger struct {
	ID           int64  `json:"id"`
	ResourceName string `json:"resource_name"`
	EventType    string `json:"event_type"`
}

func (b *hookRegistry) init(sb *Sandbox) {
	b.all = map[int64]*hook{}
	b.deliverer.init(sb)
}

// connect creates a hook and its trigger for a new company.
func (b *hookRegistry) connect(co *company) {
	h := &hook{
		id: b.sb.newID(), sb: b.sb, co: co, apiVersion: co.APIVersion, namespace: "tieback", url: co.WebhookURL,
		headers:  map[string]string{"Authorization": "Bearer " + co.WebhookToken},
		triggers: []trigger{{ID: b.sb.newID(), ResourceName: erpRequests, EventType: "CREATE"}},
	}
	b.mu.Lock()
	b.all[h.id] = h
	b.mu.Unlock()
	b.start(h)
}

// of returns the hooks of a company with a trigger for new ERP requests.
func (b *hookRegistry) of(co *company) []*hook {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*hook
	for _, h := range b.all {
		if h.co == co && slices.ContainsFunc(h.triggers, func(t trigger) bool { return t.ResourceName == erpRequests && t.EventType == "CREATE" }) {
			out = append(out, h)
		}
	}
	return out
}

const erpRequests = "ERP Requests"

// version returns the format of the next delivery.
func (h *hook) version() string {
	h.sb.hooks.mu.Lock()
	defer h.sb.hooks.mu.Unlock()
	if h.apiVersion != Rotate {
		return h.apiVersion
	}
	return versions[int(h.sb.hooks.rotation.Add(1)-1)%len(versions)]
}

func (h *hook) destination() (url string, headers map[string]string) {
	h.sb.hooks.mu.Lock()
	defer h.sb.hooks.mu.Unlock()
	return h.url, h.headers // the map of headers is replaced, never changed
}

func (h *hook) json() map[string]any {
	version := h.apiVersion
	if version == Rotate {
		version = versions[len(versions)-1]
	}
	shown := map[string]any{
		"id": h.id, "company_id": h.co.ID, "api_version": version, "namespace": h.namespace, "destination_url": h.url,
	}
	switch h.sb.cfg.HookHeaders {
	case Hidden:
	case Plain:
		shown["destination_headers"] = h.headers
	default:
		masked := map[string]string{}
		for name, value := range h.headers {
			masked[name] = mask(value)
		}
		shown["destination_headers"] = masked
	}
	return shown
}

// mask replaces all but the last 5 characters.
func mask(value string) string {
	hidden := max(0, len(value)-5)
	return strings.Repeat("*", hidden) + value[hidden:]
}

// HookToken returns the bearer token of a hook, which the API shows masked. It returns "" for an unknown hook.
func (sb *Sandbox) HookToken(hookID int64) string {
	sb.hooks.mu.Lock()
	defer sb.hooks.mu.Unlock()
	h := sb.hooks.all[hookID]
	if h == nil {
		return ""
	}
	return strings.TrimPrefix(h.headers["Authorization"], "Bearer ")
}

type hookFields struct {
	APIVersion string            `json:"api_version"`
	Namespace  string            `json:"namespace"`
	URL        string            `json:"destination_url"`
	Headers    map[string]string `json:"destination_headers"`
}

type hookBody struct {
	CompanyID any         `json:"company_id"`
	Hook      *hookFields `json:"hook"`
}

var namespace = regexp.MustCompile(`^[a-z0-9-]+$`)

func (f *hookFields) bad() *answer {
	switch {
	case f == nil:
		return new(invalid("hook", "is missing: send {\"company_id\": …, \"hook\": {…}}"))
	case f.Namespace != "" && !namespace.MatchString(f.Namespace):
		return new(invalid("namespace", "%q has other characters than a-z, 0-9 and -", f.Namespace))
	case f.APIVersion != "" && !slices.Contains([]string{"v2.0", "v3.0", "v4.0"}, f.APIVersion):
		return new(invalid("api_version", "%q is not one of v2.0, v3.0, v4.0", f.APIVersion))
	}
	return nil
}

func createHook(c *call) answer {
	var body hookBody
	if err := c.decode(&body); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	if bad := c.namesCompany(map[string]any{"company_id": body.CompanyID}); bad != nil {
		return *bad
	}
	if bad := body.Hook.bad(); bad != nil {
		return *bad
	}
	f := body.Hook
	if f.URL == "" || f.Namespace == "" || f.APIVersion == "" {
		return invalid("hook", "needs api_version, namespace and destination_url")
	}
	h := &hook{id: c.sb.newID(), sb: c.sb, co: c.co, apiVersion: f.APIVersion, namespace: f.Namespace, url: f.URL, headers: f.Headers}
	c.sb.hooks.mu.Lock()
	c.sb.hooks.all[h.id] = h
	shown := h.json()
	c.sb.hooks.mu.Unlock()
	c.sb.hooks.start(h)
	return answer{status: http.StatusCreated, body: shown}
}

// listHooks returns the hooks of the namespace in the query, by default all.
func listHooks(c *call) answer {
	want := c.r.URL.Query().Get("namespace")
	b := &c.sb.hooks
	b.mu.Lock()
	defer b.mu.Unlock()
	out := []map[string]any{}
	for _, h := range b.all {
		if h.co == c.co && (want == "" || want == h.namespace) {
			out = append(out, h.json())
		}
	}
	slices.SortFunc(out, func(x, y map[string]any) int { return int(x["id"].(int64) - y["id"].(int64)) })
	return ok(out)
}

// withHook calls f with the hook in the path, with the registry's lock held.
func withHook(c *call, f func(*hook) answer) answer {
	b := &c.sb.hooks
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.all[c.pathID("id")]
	if h == nil || h.co != c.co {
		return refuse(http.StatusNotFound, "hook %s is not in company %d", c.r.PathValue("id"), c.co.ID)
	}
	return f(h)
}

func updateHook(c *call) answer {
	var body hookBody
	if err := c.decode(&body); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	if bad := body.Hook.bad(); bad != nil {
		return *bad
	}
	return withHook(c, func(h *hook) answer {
		h.apiVersion, h.namespace, h.url = cmp.Or(body.Hook.APIVersion, h.apiVersion), cmp.Or(body.Hook.Namespace, h.namespace), cmp.Or(body.Hook.URL, h.url)
		if body.Hook.Headers != nil {
			h.headers = body.Hook.Headers
		}
		return ok(h.json())
	})
}

func deleteHook(c *call) answer {
	return withHook(c, func(h *hook) answer {
		delete(c.sb.hooks.all, h.id)
		h.stop()
		return answer{status: http.StatusNoContent}
	})
}

func createTrigger(c *call) answer {
	var body struct {
		Trigger *trigger `json:"trigger"`
	}
	if err := c.decode(&body); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	if body.Trigger == nil || body.Trigger.ResourceName == "" || body.Trigger.EventType == "" {
		return invalid("trigger", "needs resource_name and event_type: {\"trigger\": {\"resource_name\": %q, \"event_type\": \"create\"}}", erpRequests)
	}
	return withHook(c, func(h *hook) answer {
		t := trigger{ID: c.sb.newID(), ResourceName: body.Trigger.ResourceName, EventType: strings.ToUpper(body.Trigger.EventType)}
		h.triggers = append(h.triggers, t)
		return answer{status: http.StatusCreated, body: t}
	})
}

func listTriggers(c *call) answer {
	return withHook(c, func(h *hook) answer { return ok(append([]trigger{}, h.triggers...)) })
}

func deleteTrigger(c *call) answer {
	return withHook(c, func(h *hook) answer {
		i := slices.IndexFunc(h.triggers, func(t trigger) bool { return t.ID == c.pathID("trigger_id") })
		if i < 0 {
			return refuse(http.StatusNotFound, "trigger %s does not belong to hook %d", c.r.PathValue("trigger_id"), h.id)
		}
		h.triggers = slices.Delete(h.triggers, i, i+1)
		return answer{status: http.StatusNoContent}
	})
}

// listDeliveries returns a page of the delivery log, oldest first:
// ?company_id=&filters[status]=any|successful|discarded|failing&page_start=&page_size=. Config.StatusFilter is the name
// of the parameter that filters; an unknown parameter is ignored. page_start is the last id of the previous page, an
// event's id or event_id, as Procore documents it. A small number is a number of deliveries to skip.
func listDeliveries(c *call) answer {
	q := c.r.URL.Query()
	if c.queryID("company_id") != c.co.ID {
		return invalid("company_id", "must be in the query and be the company of the %s header", companyHeader)
	}
	filter := cmp.Or(c.sb.cfg.StatusFilter, "filters[status]")
	status := q.Get(filter)
	if !slices.Contains([]string{"", "any", "successful", "discarded", "failing"}, status) {
		return invalid(filter, "%q is not one of any, successful, discarded, failing", status)
	}
	size := min(atLeast1(q.Get("page_size"), 100), 1000)
	return withHook(c, func(h *hook) answer { return ok(h.log(status, q.Get("page_start"), size)) })
}

// DropDeliveries discards the waiting deliveries of all hooks, as Procore does after 12 hours, and returns their number.
func (sb *Sandbox) DropDeliveries() int {
	sb.hooks.mu.Lock()
	defer sb.hooks.mu.Unlock()
	n := 0
	for _, h := range sb.hooks.all {
		h.queue.mu.Lock()
		n += len(h.waiting)
		h.flush()
		h.queue.mu.Unlock()
	}
	return n
}

// RotateToken sets the webhook token of a company's hooks, which retries of refused deliveries use too.
func (sb *Sandbox) RotateToken(companyID int64, token string) error {
	co, err := sb.company(companyID)
	if err != nil {
		return err
	}
	sb.hooks.mu.Lock()
	defer sb.hooks.mu.Unlock()
	for _, h := range sb.hooks.all {
		if h.co == co {
			h.headers = maps.Clone(h.headers) // a delivery in flight uses the old map
			h.headers["Authorization"] = "Bearer " + token
		}
	}
	return nil
}
