package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// FaultKind is a way to go wrong. Go's own client repeats a GET by itself when the connection
// is reset: give such a rule more Times, or aim it at writes.
type FaultKind string

// The kinds of faults.
const (
	FaultStatus     FaultKind = "status"      // answers Status, with Retry-After, without doing the work
	FaultHang       FaultKind = "hang"        // answers nothing until the caller gives up
	FaultReset      FaultKind = "reset"       // resets the connection without doing the work
	FaultLoseAnswer FaultKind = "lose_answer" // does the work, then resets the connection
	FaultExpire     FaultKind = "expire"      // expires the client's tokens, so that this call is a 401
)

// FaultRule says which calls go wrong, how, and how often.
type FaultRule struct {
	Method     string    `json:"method"`      // "": any
	Path       string    `json:"path"`        // part of the path, or of its pattern; "": any
	CompanyID  int64     `json:"company_id"`  // by the company header; 0: any
	Kind       FaultKind `json:"kind"`        //
	Status     int       `json:"status"`      // of FaultStatus: 429, 500, 502, 503 or any other
	Done       bool      `json:"done"`        // of FaultStatus: the work is done all the same
	Above      int       `json:"above"`       // only calls with more updates than that; 0: all
	RetryAfter int       `json:"retry_after"` // seconds; 0: 1 for 503, none for others
	Times      int       `json:"times"`       // that many calls; 0: one, or with Fraction or Seconds no end
	Fraction   float64   `json:"fraction"`    // of the calls that match; 0: all
	Seconds    float64   `json:"seconds"`     // the rule ends after them; 0: not by time

	ends time.Time
}

type faults struct {
	mu    sync.Mutex
	rules []*FaultRule
}

// Fail adds a rule. The first rule that matches a call has it.
func (sb *Sandbox) Fail(rule FaultRule) error {
	if !slices.Contains([]FaultKind{FaultStatus, FaultHang, FaultReset, FaultLoseAnswer, FaultExpire}, rule.Kind) {
		return fmt.Errorf("kind: %q is none of status, hang, reset, lose_answer, expire", rule.Kind)
	}
	if rule.Kind == FaultStatus && (rule.Status < 400 || rule.Status > 599) {
		return errors.New("status: give the status to answer, 400 to 599")
	}
	if rule.Times == 0 && rule.Fraction == 0 && rule.Seconds == 0 {
		rule.Times = 1
	}
	if rule.Seconds > 0 {
		rule.ends = time.Now().Add(time.Duration(rule.Seconds * float64(time.Second)))
	}
	sb.faults.mu.Lock()
	defer sb.faults.mu.Unlock()
	sb.faults.rules = append(sb.faults.rules, &rule)
	return nil
}

// Heal drops every rule.
func (sb *Sandbox) Heal() {
	sb.faults.mu.Lock()
	defer sb.faults.mu.Unlock()
	sb.faults.rules = nil
}

// fault takes the rule that has this call, if any, and counts it down.
func (sb *Sandbox) fault(c *call, pattern string) *FaultRule {
	sb.faults.mu.Lock()
	defer sb.faults.mu.Unlock()
	sb.faults.rules = slices.DeleteFunc(sb.faults.rules, func(f *FaultRule) bool { return !f.ends.IsZero() && time.Now().After(f.ends) })
	for i, rule := range sb.faults.rules {
		if !rule.matches(c, pattern) || rule.Fraction > 0 && !sb.chance(rule.Fraction) {
			continue
		}
		if rule.Times > 0 {
			if rule.Times--; rule.Times == 0 {
				sb.faults.rules = slices.Delete(sb.faults.rules, i, i+1)
			}
		}
		return rule
	}
	return nil
}

func (f *FaultRule) matches(c *call, pattern string) bool {
	if f.Method != "" && f.Method != c.r.Method {
		return false
	}
	if f.CompanyID != 0 && c.r.Header.Get(companyHeader) != strconv.FormatInt(f.CompanyID, 10) {
		return false
	}
	if f.Above > 0 && c.updates() <= f.Above {
		return false
	}
	return strings.Contains(pattern, f.Path) || strings.Contains(c.r.URL.Path, f.Path)
}

// answer does a call's work, or what a fault makes of it. Status 0: there is nothing to write.
func (sb *Sandbox) answer(c *call, pattern string, do func(*call) answer) answer {
	rule := sb.fault(c, pattern)
	if rule == nil {
		return do(c)
	}
	switch rule.Kind {
	case FaultHang:
		<-c.r.Context().Done()
		return answer{}
	case FaultReset:
		return answer{reset: true}
	case FaultLoseAnswer:
		do(c)
		return answer{reset: true}
	case FaultExpire:
		if cl, _ := sb.tokens.client(c.r.Header.Get("Authorization")); cl != nil {
			sb.tokens.expire(func(of *client) bool { return of == cl })
		}
		return do(c)
	default:
		if rule.Done {
			do(c)
		}
		return rule.answer(sb.told(time.Now()))
	}
}

// updates is how many updates a call of a sync action has.
func (c *call) updates() int {
	var body struct {
		Updates []any `json:"updates"`
	}
	if c.decode(&body) != nil {
		return 0
	}
	return len(body.Updates)
}

func (f *FaultRule) answer(now time.Time) answer {
	a := refuse(f.Status, "%s (on purpose)", http.StatusText(f.Status))
	wait := f.RetryAfter
	if wait == 0 && f.Status == http.StatusServiceUnavailable {
		wait = 1
	}
	a.header = map[string]string{}
	if f.Status == http.StatusTooManyRequests {
		a.header = rateHeader(25, 0, now.Add(time.Duration(max(wait, 1))*time.Second))
	}
	if wait > 0 {
		a.header["Retry-After"] = strconv.Itoa(wait)
	}
	return a
}

// reset closes the connection under the caller, with an RST where it is TCP.
func reset(w http.ResponseWriter) {
	hijacker, canHijack := w.(http.Hijacker)
	if !canHijack {
		panic(http.ErrAbortHandler) // a recorder: the server drops the connection for us
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, isTCP := conn.(*net.TCPConn); isTCP {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
