package tryton

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// The class of a response:
//
//	response                                      a read     a write
//	not sent: refused, no route, ctx ended        transient  transient
//	lost: timeout, connection lost, malformed     transient  ambiguous
//	401                                           log in again, once; then transient
//	403, 413, other 4xx                           permanent  permanent
//	404: no such database, or it is down          transient  transient
//	429                                           throttled  throttled
//	5xx                                           transient  ambiguous
//	UserError, UserWarning                        permanent  permanent
//	ConcurrencyException                          transient  transient
//	a lock, a conflict, the database is down      transient  transient
//	any other error of Tryton                     transient  ambiguous

// The errors made here contain everything that Tryton returned. client.post removes the secrets and cuts the
// text.

// slowDown is the wait after a 429 that does not say how long to wait.
const slowDown = 30 * time.Second

// lost returns the error of a call whose result is not known.
func lost(method string, e effect, err error) error {
	class := fault.Transient
	if e == writes {
		class = fault.Ambiguous
	}
	return fault.New(class, fmt.Errorf("tryton: %s: %w", method, plain(err)))
}

// plain removes the URL from an error of net/http.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func refusedStatus(method string, e effect, res *http.Response, raw []byte) error {
	err := fmt.Errorf("tryton: %s: HTTP %d: %s", method, res.StatusCode, raw)
	switch code := res.StatusCode; {
	case code == http.StatusUnauthorized:
		return &sessionEnded{}
	case code == http.StatusTooManyRequests:
		wait, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		wait = min(max(wait, 0), 24*60*60) // otherwise the product may be negative; the bus retries earlier
		return fault.Wait(cmp.Or(time.Duration(wait)*time.Second, slowDown), err)
	case code == http.StatusNotFound:
		return fault.New(fault.Transient, fmt.Errorf("tryton: %s: no such database, or it is down (connector.database): HTTP 404", method))
	case code == http.StatusRequestEntityTooLarge:
		return &fault.Error{Class: fault.Permanent, UserMessage: "The record is too large for Tryton. Split it in Procore and export the parts.", Err: err}
	case code >= 400 && code < 500:
		return fault.New(fault.Permanent, err)
	}
	return lost(method, e, err)
}

// passing are Tryton's errors after which nothing happened and the same call may succeed later.
var passing = []string{
	"could not obtain lock", "could not serialize access", "deadlock detected", "lock timeout",
	"written by another transaction", "Connection refused", "the database system is ", "too many clients",
}

func refusedCall(method string, e effect, args []json.RawMessage) error {
	var name, said string
	if len(args) == 0 || json.Unmarshal(args[0], &name) != nil {
		return lost(method, e, errors.New("an error without a message"))
	}
	if len(args) > 1 && json.Unmarshal(args[1], &said) != nil {
		said = ""
	}
	var parts []any
	if len(args) > 1 {
		_ = json.Unmarshal(args[1], &parts)
	}
	switch {
	case name == "UserError":
		return userError(word(parts, 0), word(parts, 1))
	case name == "UserWarning":
		return userError(word(parts, 1), word(parts, 2))
	case name == "ConcurrencyException":
		return fault.New(fault.Transient, fmt.Errorf("tryton: %s: changed by another transaction: %s", method, said))
	}
	for _, p := range passing {
		if strings.Contains(name, p) {
			return fault.New(fault.Transient, fmt.Errorf("tryton: %s: %s", method, name))
		}
	}
	return lost(method, e, fmt.Errorf("%s %s", name, said))
}

func word(parts []any, i int) string {
	if i >= len(parts) {
		return ""
	}
	s, _ := parts[i].(string)
	return s
}

// Advice to accountants about a date.
const (
	openYear = "Open a fiscal year for that date in Tryton, or correct the date in Procore, then export it again."
	reopen   = "Reopen the period in Tryton, or correct the date in Procore, then export it again."
)

// userError returns a refusal. The messages of our module name the field; some of Tryton's own are known.
func userError(message, description string) error {
	if field, ours := strings.CutPrefix(description, "field:"); ours {
		return fault.Refused(field, "%s", message)
	}
	text := strings.TrimSpace(message + " " + description)
	for _, k := range []struct{ says, field, advice string }{
		{"code on party", "code", "Export the vendor again with a different code."},
		{"create a period for the date", "date", openYear}, {"create a fiscal year", "date", openYear},
		{"closed period", "date", reopen}, {"is closed", "date", reopen}, {"closed journal-period", "date", reopen},
	} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(k.says)) {
			return fault.Refused(k.field, "Tryton says: %s %s", text, k.advice)
		}
	}
	return fault.Permanentf("Tryton says: %s Correct it in Procore or in Tryton, then try again.", text)
}
