package tryton

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

const secret = "hunter2-do-not-tell"

// fake is a Tryton that accepts any login and returns one answer to all other calls.
type fake struct {
	*httptest.Server
	logins atomic.Int32
	answer func(w http.ResponseWriter, method string)
}

func newFake(t *testing.T, answer func(w http.ResponseWriter, method string)) (*fake, *client) {
	s := &fake{answer: answer}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	c, err := read(map[string]string{"url": s.URL, "database": "db", "user": "u", "password": secret})
	if err != nil {
		t.Fatal(err)
	}
	return s, newClient(c)
}

func (s *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	var q struct{ Method string }
	_ = json.Unmarshal(raw, &q)
	switch {
	case q.Method == "common.db.login":
		s.logins.Add(1)
		_, _ = io.WriteString(w, `{"id":1,"result":[1,"key"]}`)
	case strings.HasSuffix(q.Method, "get_preferences"):
		_, _ = io.WriteString(w, `{"id":1,"result":{"language":"en"}}`)
	default:
		s.answer(w, q.Method)
	}
}

func respond(body string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, body) }
}

func status(code int) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, _ string) { w.WriteHeader(code) }
}

func disconnect(http.ResponseWriter, string) { panic(http.ErrAbortHandler) }

// The class of each answer to a read and to a write; see classes.go.
func TestClasses(t *testing.T) {
	const perm, trans, thr, amb = fault.Permanent, fault.Transient, fault.Throttled, fault.Ambiguous
	for _, tt := range []struct {
		why         string
		answer      func(http.ResponseWriter, string)
		read, write fault.Class
	}{
		{"a refusal", respond(`{"id":1,"error":["UserError",["No such code.","",null]]}`), perm, perm},
		{"a warning, which only a user can confirm", respond(`{"id":1,"error":["UserWarning",["w","Really?","Sure?"]]}`), perm, perm},
		{"a concurrent change", respond(`{"id":1,"error":["ConcurrencyException","party changed"]}`), trans, trans},
		{"a lock", respond(`{"id":1,"error":["could not obtain lock on row in relation \"ir_sequence\"",""]}`), trans, trans},
		{"a conflict", respond(`{"id":1,"error":["could not serialize access due to concurrent update",""]}`), trans, trans},
		{"the database is down", respond(`{"id":1,"error":["connection to server at \"127.0.0.1\", port 5432 failed: Connection refused",""]}`), trans, trans},
		{"the connection to the database was lost, perhaps after the commit", respond(`{"id":1,"error":["server closed the connection unexpectedly",""]}`), trans, amb},
		{"a bug in a module", respond(`{"id":1,"error":["'NoneType' object has no attribute 'x'","Traceback"]}`), trans, amb},
		{"an error without a text", respond(`{"id":1,"error":[]}`), trans, amb},
		{"no JSON", respond(`<html>`), trans, amb},
		{"half an answer", func(w http.ResponseWriter, _ string) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"id":1`)
		}, trans, amb},
		{"broken off", disconnect, trans, amb},
		{"no permission for the call", status(403), perm, perm},
		{"no such database, or it is down", status(404), trans, trans},
		{"too large", status(413), perm, perm},
		{"too many calls", status(429), thr, thr},
		{"a proxy's error", status(502), trans, amb},
		{"an error of trytond", status(500), trans, amb},
	} {
		_, c := newFake(t, tt.answer)
		for e, want := range map[effect]fault.Class{reads: tt.read, writes: tt.write} {
			err := c.call(t.Context(), e, nil, "model.x.y")
			if err == nil || fault.ClassOf(err) != want {
				t.Errorf("%s: write %v: %v is %s, want %s", tt.why, e, err, fault.ClassOf(err), want)
			}
			if strings.Contains(fmt.Sprint(err), secret) {
				t.Errorf("%s: the password is in %v", tt.why, err)
			}
		}
	}
}

func TestWriteIsAmbiguousOnlyIfItWasSent(t *testing.T) {
	_, c := newFake(t, func(http.ResponseWriter, string) { time.Sleep(300 * time.Millisecond) })
	if err := c.call(t.Context(), reads, nil, "model.warm.up"); fault.ClassOf(err) != fault.Transient {
		t.Fatal(err) // an empty answer
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.call(ctx, writes, nil, "model.x.y"); fault.ClassOf(err) != fault.Ambiguous || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("timed out: %v is %s", err, fault.ClassOf(err))
	}
	if err := c.call(ctx, writes, nil, "model.x.y"); fault.ClassOf(err) != fault.Transient {
		t.Errorf("ended before it was sent: %v is %s", err, fault.ClassOf(err))
	}
}

func TestConnectionRefusedIsTransient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	c, _ := read(map[string]string{"url": "http://" + address, "database": "db", "user": "u", "password": secret})
	if err := newClient(c).call(t.Context(), writes, nil, "model.x.y"); fault.ClassOf(err) != fault.Transient {
		t.Errorf("%v is %s", err, fault.ClassOf(err))
	}
}

func TestExpiredSessionIsRenewedOnce(t *testing.T) {
	calls := 0
	s, c := newFake(t, func(w http.ResponseWriter, _ string) {
		if calls++; calls == 2 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"id":1,"result":7}`)
	})
	for range 3 {
		var got int
		if err := c.call(t.Context(), writes, &got, "model.x.y"); err != nil || got != 7 {
			t.Fatal(got, err)
		}
	}
	if s.logins.Load() != 2 || calls != 4 {
		t.Errorf("%d logins, %d calls", s.logins.Load(), calls)
	}
	s.answer = status(http.StatusUnauthorized)
	if err := c.call(t.Context(), writes, nil, "model.x.y"); fault.ClassOf(err) != fault.Transient || s.logins.Load() != 3 {
		t.Errorf("%v after %d logins", err, s.logins.Load())
	}
}

func TestRetryAfter(t *testing.T) {
	_, c := newFake(t, func(w http.ResponseWriter, _ string) {
		w.Header().Set("Retry-After", "17")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	if err := c.call(t.Context(), writes, nil, "model.x.y"); fault.RetryAfter(err) != 17*time.Second {
		t.Error(err, fault.RetryAfter(err))
	}
	_, c = newFake(t, func(w http.ResponseWriter, _ string) {
		w.Header().Set("Retry-After", "9223372036854775807")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	if err := c.call(t.Context(), writes, nil, "model.x.y"); fault.RetryAfter(err) != 24*time.Hour {
		t.Error(err, fault.RetryAfter(err))
	}
	_, c = newFake(t, status(http.StatusTooManyRequests))
	if err := c.call(t.Context(), writes, nil, "model.x.y"); fault.RetryAfter(err) != slowDown {
		t.Error(err, fault.RetryAfter(err))
	}
}

// An answer that does not end must not occupy one of the ERP's slots forever.
func TestStalledAnswerTimesOut(t *testing.T) {
	stalls := make(chan struct{})
	_, c := newFake(t, func(w http.ResponseWriter, _ string) {
		_, _ = io.WriteString(w, `{"id":1,`)
		_ = http.NewResponseController(w).Flush()
		<-stalls
	})
	defer close(stalls)
	if c.http.Timeout <= 0 || c.http.Timeout > 5*time.Minute {
		t.Fatalf("an answer may take %v", c.http.Timeout)
	}
	c.http.Timeout = 200 * time.Millisecond
	for e, class := range map[effect]fault.Class{reads: fault.Transient, writes: fault.Ambiguous} {
		if err := c.call(t.Context(), e, nil, "model.x.y"); err == nil || fault.ClassOf(err) != class {
			t.Errorf("%v: %v, want it %v", e, err, class)
		}
	}
}

func TestAnswerSizeIsLimited(t *testing.T) {
	_, c := newFake(t, func(w http.ResponseWriter, _ string) {
		chunk := strings.Repeat(" ", 1<<20)
		for range maxBytes>>20 + 1 {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	})
	if err := c.call(t.Context(), reads, nil, "model.x.y"); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Error(err)
	}
}

// A refusal has a message for the accountant, and its field if it is known.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ message, description, field, says string }{
		{"The job code \"A\" is already used.", "field:code", "code", "The job code"},
		{"The code on party must be unique.", "", "code", "different code"},
		{"To continue, you must create a period for the date \"12/31/1999\".", "", "date", "Open a fiscal year"},
		{"Something else.", "Details.", "", "Tryton says: Something else. Details."},
	} {
		raw, _ := json.Marshal([]any{tt.message, tt.description, nil})
		_, c := newFake(t, respond(`{"id":1,"error":["UserError",`+string(raw)+`]}`))
		err := c.call(t.Context(), writes, nil, "model.x.y")
		if fault.Field(err) != tt.field || !strings.Contains(fault.UserMessage(err, ""), tt.says) {
			t.Errorf("%s: field %q, %q", tt.message, fault.Field(err), fault.UserMessage(err, ""))
		}
	}
}

func TestSettings(t *testing.T) {
	good := func() map[string]string {
		return map[string]string{"url": "http://h:8000", "database": "d", "user": "u", "password": secret}
	}
	if _, err := Open(t.Context(), 7, good()); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct{ name, value string }{
		{"url", ""}, {"url", "h:8000"}, {"url", "http://u:" + secret + "@h:8000"}, {"database", ""}, {"user", ""}, {"password", ""},
		{"confirm", "maybe"}, {"adress", "x"},
	} {
		s := good()
		s[tt.name] = tt.value
		_, err := Open(t.Context(), 7, s)
		if err == nil || !strings.Contains(err.Error(), "connector."+tt.name) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s %q: %v", tt.name, tt.value, err)
		}
	}
}

func TestAmountsAreNeverFloats(t *testing.T) {
	raw, err := json.Marshal(object{"a": money{amount("12345678901234.10")}, "d": day("2026-02-28"), "n": day("")})
	if want := `{"a":{"__class__":"Decimal","decimal":"12345678901234.1"},"d":{"__class__":"date","day":28,"month":2,"year":2026},"n":null}`; err != nil || string(raw) != want {
		t.Errorf("%s, %v", raw, err)
	}
	for wire, want := range map[string]string{`{"__class__":"Decimal","decimal":"0.10"}`: "0.1", `null`: "0", `9007199254740993`: "9007199254740993", `{"__class__":"Decimal","decimal":"-1E+2"}`: "-100"} {
		var m money
		if err := json.Unmarshal([]byte(wire), &m); err != nil || m.String() != want {
			t.Errorf("%s: %s, %v", wire, m, err)
		}
	}
	var m money
	if err := json.Unmarshal([]byte(`{"__class__":"bytes"}`), &m); err == nil {
		t.Error("a value that is not a Decimal was read as one")
	}
}

// A quantity is kept only if quantity times unit cost is the amount, to the cent.
func TestQuantities(t *testing.T) {
	for _, tt := range []struct{ quantity, cost, amount, wantQuantity, wantPrice string }{
		{"3", "11.11", "33.33", "3", "11.11"},
		{"3", "3.333", "10.00", "1", "10"},
		{"0.3333", "3", "0.9999", "0.3333", "3"},
		{"0.33333", "3", "0.99999", "1", "0.99999"},
		{"", "", "5", "1", "5"}, {"0", "0", "0", "1", "0"},
		{"12345678901", "1", "12345678901", "1", "12345678901"},
	} {
		w := &work{facts: &facts{}, r: &record{Entity: commitment}}
		v := w.line(amount(tt.amount), "", 1, 0)
		exact(v, lineOf(tt.quantity, tt.cost, tt.amount))
		if q, p := fmt.Sprint(v["quantity"]), v["unit_price"].(money).String(); q != tt.wantQuantity || p != tt.wantPrice {
			t.Errorf("%s × %s = %s: %s × %s", tt.quantity, tt.cost, tt.amount, q, p)
		}
	}
}

func lineOf(quantity, cost, amount string) *tiebackv1.Line {
	return &tiebackv1.Line{Quantity: quantity, UnitCost: cost, Amount: amount}
}

// Texts of Tryton reach logs, dead letters and accountants: they are cut and printable, and have no password or session.
func TestTextsOfTrytonAreSanitized(t *testing.T) {
	const session = "dToxOmtleQ==" // u:1:key
	long := "no\u0000: " + secret + " " + session + " Bearer x " + strings.Repeat("\u202e€", 1<<20)
	said, err := json.Marshal(long)
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]func(http.ResponseWriter, string){
		"UserError":      respond(`{"error":["UserError",[` + string(said) + `,""]]}`),
		"our UserError":  respond(`{"error":["UserError",[` + string(said) + `,"field:name"]]}`),
		"UserWarning":    respond(`{"error":["UserWarning",["w",` + string(said) + `,"x"]]}`),
		"an exception":   respond(`{"error":[` + string(said) + `,` + string(said) + `]}`),
		"a conflict":     respond(`{"error":["ConcurrencyException",` + string(said) + `]}`),
		"a page of HTML": func(w http.ResponseWriter, _ string) { w.WriteHeader(502); _, _ = io.WriteString(w, long) },
		"no JSON":        respond(long),
	} {
		_, c := newFake(t, answer)
		err := c.call(t.Context(), writes, nil, "model.x.create")
		all := err.Error() + fault.UserMessage(err, "")
		if len(err.Error()) > 5000 || len(fault.UserMessage(err, "")) > 5000 || strings.ContainsAny(all, "\x00\u202e") || strings.Contains(all, secret) || strings.Contains(all, session) {
			t.Errorf("%s: %d and %d bytes: %.200q", name, len(err.Error()), len(fault.UserMessage(err, "")), all)
		}
	}
}
