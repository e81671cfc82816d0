package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/tieback/tieback/pkg/procore/schema"
)

// call is a call of the API.
type call struct {
	sb   *Sandbox
	r    *http.Request
	body []byte
	co   *company // nil before authorized sets it, and for a token call
}

// answer is the answer to a call.
type answer struct {
	status int
	body   any    // marshaled as JSON
	raw    []byte // instead of body
	header map[string]string
	reset  bool // reset the connection instead of answering
}

func ok(body any) answer { return answer{status: http.StatusOK, body: body} }

// refuse returns an answer with a message, which is Procore's format for an error without a field.
func refuse(status int, format string, args ...any) answer {
	return answer{status: status, body: map[string]string{"message": fmt.Sprintf(format, args...)}}
}

// itemErrors has the errors of an item or a call, by field.
type itemErrors map[string][]string

func fieldError(field, format string, args ...any) itemErrors {
	return itemErrors{field: {fmt.Sprintf(format, args...)}}
}

// invalid returns an answer that refuses a call because of a field.
func invalid(field, format string, args ...any) answer {
	return answer{status: http.StatusUnprocessableEntity, body: map[string]any{"errors": fieldError(field, format, args...)}}
}

// maxBody is much more than 1,000 staged contracts with their lines.
const maxBody = 32 << 20

// endpoint returns a handler that reads, logs and counts a call, applies faults and writes the answer. It holds no lock
// during reads and writes.
func (sb *Sandbox) endpoint(pattern string, do func(*call) answer) http.Handler {
	counter := sb.calls.counter(pattern)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		c := &call{sb: sb, r: r, body: body}
		counter.Add(1)
		a := refuse(http.StatusBadRequest, "the body could not be read: %v", err)
		if err == nil {
			a = sb.answer(c, pattern, do)
		}
		sb.calls.add(c, pattern, began, a.status)
		switch {
		case a.reset:
			reset(w)
		case a.status > 0:
			w.Header().Set("Date", sb.serverTime(time.Now()).UTC().Format(http.TimeFormat))
			a.write(w)
		}
	})
}

func (a answer) write(w http.ResponseWriter) {
	for name, value := range a.header {
		w.Header()[name] = []string{value}
	}
	if a.raw == nil && a.body != nil {
		raw, err := json.Marshal(a.body)
		if err != nil {
			a.status, raw = http.StatusInternalServerError, []byte(`{"message":"the sandbox could not marshal its answer"}`)
		}
		a.raw = raw
	}
	if a.raw != nil {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.raw) // fails if the caller is gone
}

// authorized checks the access token, the company header and the rate limit of a call.
func (sb *Sandbox) authorized(do func(*call) answer) func(*call) answer {
	return func(c *call) answer {
		cl, valid := sb.tokens.client(c.r.Header.Get("Authorization"))
		if cl == nil {
			return refuse(http.StatusUnauthorized, "The access token is invalid")
		}
		co, bad := c.from(cl)
		l := cl.limits
		if co != nil {
			l = co.limits
		}
		header, within := l.take(sb)
		a := refuse(http.StatusTooManyRequests, "You have surpassed the max number of requests: wait until X-Rate-Limit-Reset")
		switch {
		case !within:
		case !valid:
			a = refuse(http.StatusUnauthorized, "The access token is invalid")
		case bad != nil:
			a = *bad
		default:
			c.co = co
			a = c.checked(do)
		}
		for name, value := range a.header {
			header[name] = value
		}
		a.header = header
		return a
	}
}

// companyHeader is required in every call, even if the path has the company.
const companyHeader = "Procore-Company-Id"

func (c *call) checked(do func(*call) answer) answer {
	if p := c.r.PathValue("company_id"); p != "" && p != strconv.FormatInt(c.co.ID, 10) {
		return refuse(http.StatusForbidden, "You do not have access to company %s: this client belongs to another company", p)
	}
	if !c.co.mayUse(c.r.URL.Path) {
		return refuse(http.StatusForbidden, "You do not have permission to access this resource")
	}
	if len(c.body) > 0 && !json.Valid(c.body) {
		return refuse(http.StatusBadRequest, "the body is not valid JSON")
	}
	if bad := schema.Check(c.r.Method, c.r.URL.Path, c.r.URL.Query(), c.body); bad != nil {
		return c.violates(bad)
	}
	return do(c)
}

// violates refuses a call that differs from the published operation and records it for Violations.
func (c *call) violates(bad []schema.Violation) answer {
	c.sb.violations.add(c.r.Method+" "+c.r.URL.RequestURI(), bad)
	errs := itemErrors{}
	for _, v := range bad[:min(len(bad), 20)] {
		errs[v.At] = append(errs[v.At], v.Why)
	}
	return answer{status: http.StatusUnprocessableEntity, body: map[string]any{"errors": errs}}
}

// decode unmarshals the body. Numbers become json.Number, so that money is never a float.
func (c *call) decode(v any) error {
	dec := json.NewDecoder(bytes.NewReader(c.body))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("the body is not valid JSON: %w", err)
	}
	return nil
}

// pathID returns an id in the path, or 0, which is not the id of any record.
func (c *call) pathID(name string) int64 {
	return parseDigits(c.r.PathValue(name))
}

// queryID returns an id in the query, or 0.
func (c *call) queryID(name string) int64 {
	return parseDigits(c.r.URL.Query().Get(name))
}

// parseDigits parses an id of at most 63 bits without a sign. It returns 0 for any other text.
func parseDigits(s string) int64 {
	id, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0
	}
	return int64(id)
}

// parseID reads an id, which is a number or a string of digits; Procore uses both.
func parseID(v any) (int64, bool) {
	var s string
	switch v := v.(type) {
	case json.Number:
		s = v.String()
	case string:
		s = v
	case int64:
		return v, v > 0
	case int:
		return int64(v), v > 0
	case float64: // from callers of Press; decode never returns one
		return int64(v), v > 0 && v == float64(int64(v))
	default:
		return 0, false
	}
	id := parseDigits(s)
	return id, id > 0
}
