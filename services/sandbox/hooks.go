package sandbox

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// hookBook holds all hooks. Its mutex guards the book and every hook's settings; a hook's
// queue has its own.
type hookBook struct {
	sb  *Sandbox
	mu  sync.Mutex
	all map[int64]*hook

	announced atomic.Int64 // deliveries so far, for DuplicateEvery
	rotation  atomic.Int64

	deliverer
}

// hook is where a company's deliveries go.
type hook struct {
	id         int64
	co         *company
	apiVersion string
	namespace  string
	url        string
	headers    map[string]string
	triggers   []trigger
	book       *hookBook

	queue
}

// trigger has its event type in capitals, as Procore answers it, in whatever case it was sent.
type trigger struct {
	ID           int64  `json:"id"`
	ResourceName string `json:"resource_name"`
	EventType    string `json:"event_type"`
}

func (b *hookBook) init(sb *Sandbox) {
	b.sb, b.all = sb, map[int64]*hook{}
	b.deliverer.init(sb)
}

// connect gives a new company the hook and the trigger that its setup would have made.
func (b *hookBook) connect(co *company) {
	h := &hook{
		id: b.sb.mint(), book: b, co: co, apiVersion: co.APIVersion, namespace: "tieback", url: co.WebhookURL,
		headers:  map[string]string{"Authorization": "Bearer " + co.WebhookToken},
		triggers: []trigger{{ID: b.sb.mint(), ResourceName: erpRequests, EventType: "CREATE"}},
	}
	b.mu.Lock()
	b.all[h.id] = h
	b.mu.Unlock()
	b.start(h)
}

// of lists the hooks of a company that fire when an ERP request is created.
func (b *hookBook) of(co *company) []*hook {
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

// version is the shape of the next delivery.
func (h *hook) version() string {
	h.book.mu.Lock()
	defer h.book.mu.Unlock()
	if h.apiVersion != Rotate {
		return h.apiVersion
	}
	return versions[int(h.book.rotation.Add(1)-1)%len(versions)]
}

func (h *hook) destination() (url string, headers map[string]string) {
	h.book.mu.Lock()
	defer h.book.mu.Unlock()
	return h.url, h.headers // headers are replaced whole, never changed
}

func (h *hook) json() map[string]any {
	version := h.apiVersion
	if version == Rotate { // which Procore has no word for
		version = versions[len(versions)-1]
	}
	shown := map[string]any{
		"id": h.id, "company_id": h.co.ID, "api_version": version, "namespace": h.namespace, "destination_url": h.url,
	}
	switch h.book.sb.cfg.HookHeaders {
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

// mask hides all but the last 5 characters.
func mask(value string) string {
	hidden := max(0, len(value)-5)
	return strings.Repeat("*", hidden) + value[hidden:]
}

// HookToken is the bearer token that a hook's deliveries carry, which the API shows masked; "": there is no such hook.
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
		return new(invalid("namespace", "%q may hold a-z, 0-9 and - only", f.Namespace))
	case f.APIVersion != "" && !slices.Contains([]string{"v2.0", "v3.0", "v4.0"}, f.APIVersion):
		return new(invalid("api_version", "%q is none of v2.0, v3.0, v4.0", f.APIVersion))
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
	h := &hook{id: c.sb.mint(), book: &c.sb.hooks, co: c.co, apiVersion: f.APIVersion, namespace: f.Namespace, url: f.URL, headers: f.Headers}
	c.sb.hooks.mu.Lock()
	c.sb.hooks.all[h.id] = h
	shown := h.json()
	c.sb.hooks.mu.Unlock()
	c.sb.hooks.start(h)
	return answer{status: http.StatusCreated, body: shown}
}

// listHooks gives the hooks of a namespace, or all where none is named.
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

// withHook runs f on the company's hook of the path, under the book's lock.
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

func showHook(c *call) answer {
	return withHook(c, func(h *hook) answer { return ok(h.json()) })
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
		for _, change := range []struct {
			to   *string
			from string
		}{{&h.apiVersion, body.Hook.APIVersion}, {&h.namespace, body.Hook.Namespace}, {&h.url, body.Hook.URL}} {
			if change.from != "" {
				*change.to = change.from
			}
		}
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
		t := trigger{ID: c.sb.mint(), ResourceName: body.Trigger.ResourceName, EventType: strings.ToUpper(body.Trigger.EventType)}
		h.triggers = append(h.triggers, t)
		return answer{status: http.StatusCreated, body: t}
	})
}

func listTriggers(c *call) answer {
	return withHook(c, func(h *hook) answer { return ok(append([]trigger{}, h.triggers...)) })
}

func withTrigger(c *call, f func(h *hook, i int) answer) answer {
	return withHook(c, func(h *hook) answer {
		i := slices.IndexFunc(h.triggers, func(t trigger) bool { return t.ID == c.pathID("trigger_id") })
		if i < 0 {
			return refuse(http.StatusNotFound, "trigger %s is not of hook %d", c.r.PathValue("trigger_id"), h.id)
		}
		return f(h, i)
	})
}

func showTrigger(c *call) answer {
	return withTrigger(c, func(h *hook, i int) answer { return ok(h.triggers[i]) })
}

func updateTrigger(c *call) answer {
	var body struct {
		Trigger trigger `json:"trigger"`
	}
	if err := c.decode(&body); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	return withTrigger(c, func(h *hook, i int) answer {
		if body.Trigger.ResourceName != "" {
			h.triggers[i].ResourceName = body.Trigger.ResourceName
		}
		if body.Trigger.EventType != "" {
			h.triggers[i].EventType = strings.ToUpper(body.Trigger.EventType)
		}
		return ok(h.triggers[i])
	})
}

func deleteTrigger(c *call) answer {
	return withTrigger(c, func(h *hook, i int) answer {
		h.triggers = slices.Delete(h.triggers, i, i+1)
		return answer{status: http.StatusNoContent}
	})
}

// listDeliveries is how an integration finds what it missed:
// ?company_id=&filters[status]=any|successful|discarded|failing&page_start=&page_size=. Which parameter filters is
// Config.StatusFilter; a parameter that Procore doesn't know is ignored. page_start is the last id of the
// previous page, an event's id or event_id, as Procore's reference has it; a small number counts deliveries,
// from 0. The oldest come first.
func listDeliveries(c *call) answer {
	q := c.r.URL.Query()
	if c.queryID("company_id") != c.co.ID {
		return invalid("company_id", "must be in the query and be the company of the %s header", companyHeader)
	}
	filter := cmp.Or(c.sb.cfg.StatusFilter, "filters[status]")
	status := q.Get(filter)
	if !slices.Contains([]string{"", "any", "successful", "discarded", "failing"}, status) {
		return invalid(filter, "%q is none of any, successful, discarded, failing", status)
	}
	size := min(atLeast1(q.Get("page_size"), 100), 1000)
	return withHook(c, func(h *hook) answer { return ok(h.log(status, q.Get("page_start"), size)) })
}
