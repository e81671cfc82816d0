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

// call is one call of the API, read whole, on its way to an answer.
type call struct {
	sb   *Sandbox
	r    *http.Request
	body []byte
	co   *company // nil before authorized, and for a token
}

// answer is what a handler makes of a call: a body to marshal, or raw bytes.
type answer struct {
	status int
	body   any
	raw    []byte
	header map[string]string
	reset  bool // instead of an answer
}

func ok(body any) answer { return answer{status: http.StatusOK, body: body} }

// refuse answers with a message, as Procore does where no field is to blame.
func refuse(status int, format string, args ...any) answer {
	return answer{status: status, body: map[string]string{"message": fmt.Sprintf(format, args...)}}
}

// itemErrors says which field of an item or a call is wrong, and why.
type itemErrors map[string][]string

func because(field, format string, args ...any) itemErrors {
	return itemErrors{field: {fmt.Sprintf(format, args...)}}
}

// invalid refuses a whole call, as Procore does where a field is to blame.
func invalid(field, format string, args ...any) answer {
	return answer{status: http.StatusUnprocessableEntity, body: map[string]any{"errors": because(field, format, args...)}}
}

// maxBody is far above 1,000 staged contracts with their lines.
const maxBody = 32 << 20

// endpoint reads, logs and counts a call, lets a fault have it, and writes the answer.
// No lock is held while it reads or writes.
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
			w.Header().Set("Date", sb.told(time.Now()).UTC().Format(http.TimeFormat))
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
	_, _ = w.Write(a.raw) // the caller may be gone; that is its business
}

// authorized lets only a company's client pass, with the company's header, within the limits that its calls count in.
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

// companyHeader must be on every call, also where the path names the company.
const companyHeader = "Procore-Company-Id"

func (c *call) checked(do func(*call) answer) answer {
	if p := c.r.PathValue("company_id"); p != "" && p != strconv.FormatInt(c.co.ID, 10) {
		return refuse(http.StatusForbidden, "You do not have access to company %s: this client belongs to another company", p)
	}
	if !c.co.mayUse(c.r.URL.Path) {
		return refuse(http.StatusForbidden, "You do not have permission to access this resource")
	}
	if len(c.body) > 0 && !json.Valid(c.body) {
		return refuse(http.StatusBadRequest, "the body is not the JSON that this call needs")
	}
	if bad := schema.Check(c.r.Method, c.r.URL.Path, c.r.URL.Query(), c.body); bad != nil {
		return c.violates(bad)
	}
	return do(c)
}

// violates refuses what differs from the published operation. A real Procore refuses a part of it
// and drops the rest without a word: here nothing passes, and Violations keeps it.
func (c *call) violates(bad []schema.Violation) answer {
	c.sb.violations.add(c.r.Method+" "+c.r.URL.RequestURI(), bad)
	errs := itemErrors{}
	for _, v := range bad[:min(len(bad), 20)] {
		errs[v.At] = append(errs[v.At], v.Why)
	}
	return answer{status: http.StatusUnprocessableEntity, body: map[string]any{"errors": errs}}
}

// decode reads the body; numbers stay as written, so that money never meets a float.
func (c *call) decode(v any) error {
	dec := json.NewDecoder(bytes.NewReader(c.body))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("the body is not the JSON that this call needs: %w", err)
	}
	return nil
}

// pathID is an id in the path, or 0, which nobody has.
func (c *call) pathID(name string) int64 {
	return digits(c.r.PathValue(name))
}

// queryID is an id in the query, or 0.
func (c *call) queryID(name string) int64 {
	return digits(c.r.URL.Query().Get(name))
}

// digits is an id that came as text, or 0 where it is none: no sign, and no more than 63 bits.
func digits(s string) int64 {
	id, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0
	}
	return int64(id)
}

// asID reads an id that came as a number or as a string of digits; Procore uses both.
func asID(v any) (int64, bool) {
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
	case float64: // only from callers in Go; never from the wire
		return int64(v), v > 0 && v == float64(int64(v))
	default:
		return 0, false
	}
	id := digits(s)
	return id, id > 0
}
