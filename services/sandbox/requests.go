package sandbox

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// request is an ERP request. The company's lock guards closed, deadLettered and tooEarly.
type request struct {
	id        int64
	co        *company
	eventType string
	body      []byte
	clicked   time.Time
	created   time.Time // the same on Procore's clock
	details   []*detail
	done      chan struct{} // closed when the request is

	closed       time.Time
	deadLettered bool
	tooEarly     []string // details that became success before their records were marked, and why
}

// detail is a request detail. The user's button is busy until it has a final status.
//
//	in_progress ──▶ success | failed | stale; rejected if an approver rejects it (see Reject)
type detail struct {
	id       int64
	req      *request
	itemType string
	itemID   int64
	status   string
	messages []string
	updated  time.Time
	expects  []expectation
}

// Statuses of a request detail.
const (
	InProgress = "in_progress"
	Success    = "success"
	Failed     = "failed"
	Stale      = "stale"
	Rejected   = "rejected"
)

func final(status string) bool { return status != InProgress }

func (d *detail) json() map[string]any {
	return map[string]any{
		"id": d.id, "company_id": d.req.co.ID, "erp_request_id": d.req.id, "item_type": d.itemType, "item_id": d.itemID,
		"status": d.status, "messages": d.messages, "created_at": stamp(d.req.created), "updated_at": stamp(d.updated),
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func showRequest(c *call) answer {
	req, err := c.sb.request(c.pathID("id"))
	if err != nil {
		return refuse(http.StatusNotFound, "ERP request %s does not exist", c.r.PathValue("id"))
	}
	if req.co != c.co {
		return refuse(http.StatusForbidden, "ERP request %d belongs to another company", req.id)
	}
	return answer{status: http.StatusOK, raw: req.body}
}

// listDetails returns a page of details: ?filters[item_id]=&page=&per_page=.
func listDetails(c *call) answer {
	item := c.r.URL.Query().Get("filters[item_id]")
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	all := []*detail{}
	for _, d := range c.co.detailOrder {
		if item == "" || strconv.FormatInt(d.itemID, 10) == item {
			all = append(all, d)
		}
	}
	return paged(c, all, (*detail).json)
}

// atLeast1 parses a positive number; it returns orElse for any other text.
func atLeast1(s string, orElse int) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return orElse
	}
	return n
}

func showDetail(c *call) answer {
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	d := c.co.details[c.pathID("id")]
	if d == nil {
		return refuse(http.StatusNotFound, "request detail %s is not in company %d", c.r.PathValue("id"), c.co.ID)
	}
	return ok(d.json())
}

func updateDetail(c *call) answer {
	var body struct {
		Detail map[string]any `json:"request_detail"`
	}
	if err := c.decode(&body); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	if body.Detail == nil {
		return invalid("request_detail", "is missing: send {\"request_detail\": {\"status\": …, \"messages\": []}}")
	}
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	d := c.co.details[c.pathID("id")]
	if d == nil {
		return refuse(http.StatusNotFound, "request detail %s is not in company %d", c.r.PathValue("id"), c.co.ID)
	}
	if errs := d.set(body.Detail, c.sb.recordTime(time.Now())); errs != nil {
		return answer{status: http.StatusUnprocessableEntity, body: map[string]any{"errors": errs}}
	}
	return ok(d.json())
}

func syncDetails(c *call, body syncBody) answer {
	return c.sync(body.updates, func(item map[string]any) (map[string]any, itemErrors) {
		id, _ := parseID(item["id"])
		d := c.co.details[id]
		if d == nil {
			return nil, fieldError("id", "no request detail %v in company %d", item["id"], c.co.ID)
		}
		if errs := d.set(item, c.sb.recordTime(time.Now())); errs != nil {
			return nil, errs
		}
		return d.json(), nil
	})
}

// set changes a detail that is not final. The caller holds the company's lock.
func (d *detail) set(item map[string]any, now time.Time) itemErrors {
	status, _ := item["status"].(string)
	if !slices.Contains([]string{InProgress, Success, Failed, Stale}, status) {
		return fieldError("status", "%q is not one of in_progress, success, failed, stale", status)
	}
	messages, errs := messagesOf(item)
	if errs != nil {
		return errs
	}
	if final(d.status) {
		return fieldError("status", "is already %s", d.status)
	}
	d.status, d.messages, d.updated = status, messages, now
	if status == Success {
		d.req.tooEarly = append(d.req.tooEarly, d.unmet()...)
	}
	if final(status) {
		d.req.closeIfDone()
	}
	return nil
}

func messagesOf(item map[string]any) ([]string, itemErrors) {
	out := []string{}
	v, given := item["messages"]
	if !given || v == nil {
		return out, nil
	}
	list, isList := v.([]any)
	if !isList {
		return nil, fieldError("messages", "must be a list of strings")
	}
	for _, m := range list {
		s, isString := m.(string)
		if !isString {
			return nil, fieldError("messages", "must be a list of strings")
		}
		out = append(out, s)
	}
	return out, nil
}

// Reject does what an approver does who rejects a request: its open details get the status, which may be one that
// Procore does not document. "" is Rejected.
func (sb *Sandbox) Reject(requestID int64, status string) error {
	req, err := sb.request(requestID)
	if err != nil {
		return err
	}
	req.co.mu.Lock()
	defer req.co.mu.Unlock()
	for _, d := range req.details {
		if !final(d.status) {
			d.status, d.updated = cmp.Or(status, Rejected), sb.recordTime(time.Now())
		}
	}
	req.closeIfDone()
	return nil
}

// closeIfDone closes a request if all its details are final.
func (r *request) closeIfDone() {
	for _, d := range r.details {
		if !final(d.status) {
			return
		}
	}
	r.close()
}

func (r *request) close() {
	if r.closed.IsZero() {
		r.closed = time.Now()
		close(r.done)
	}
}
