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

// FaultKind is a kind of fault. Go's HTTP client retries a GET whose connection is reset, so such a rule needs more Times.
type FaultKind string

// The kinds of faults.
const (
	FaultStatus     FaultKind = "status"      // answers Status, with Retry-After, without processing the call
	FaultHang       FaultKind = "hang"        // does not answer until the caller gives up
	FaultReset      FaultKind = "reset"       // resets the connection without processing the call
	FaultLoseAnswer FaultKind = "lose_answer" // processes the call, then resets the connection
	FaultExpire     FaultKind = "expire"      // expires the client's tokens, so that this call is answered 401
)

// FaultRule describes a fault and the calls that it affects.
type FaultRule struct {
	Method     string    `json:"method"`     // "": any
	Path       string    `json:"path"`       // part of the path, or of its pattern; "": any
	CompanyID  int64     `json:"company_id"` // in the company header; 0: any
	Kind       FaultKind `json:"kind"`
	Status     int       `json:"status"`      // of FaultStatus: 429, 500, 502, 503 or any other
	RetryAfter int       `json:"retry_after"` // seconds; 0: 1 for 503, none for others
	Times      int       `json:"times"`       // the number of affected calls; 0: one, or with Fraction or Seconds unlimited
	Fraction   float64   `json:"fraction"`    // of the matching calls; 0: all
	Seconds    float64   `json:"seconds"`     // the duration of the rule; 0: unlimited

	ends time.Time
}

type faults struct {
	mu    sync.Mutex
	rules []*FaultRule
}

// Fail adds a rule. The first matching rule applies to a call.
func (sb *Sandbox) Fail(rule FaultRule) error {
	if !slices.Contains([]FaultKind{FaultStatus, FaultHang, FaultReset, FaultLoseAnswer, FaultExpire}, rule.Kind) {
		return fmt.Errorf("kind: %q is not one of status, hang, reset, lose_answer, expire", rule.Kind)
	}
	if rule.Kind == FaultStatus && (rule.Status < 400 || rule.Status > 599) {
		return errors.New("status: it must be 400 to 599")
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

// Heal removes all rules.
func (sb *Sandbox) Heal() {
	sb.faults.mu.Lock()
	defer sb.faults.mu.Unlock()
	sb.faults.rules = nil
}

// faultRules returns the rules that can still apply.
func (sb *Sandbox) faultRules() (rules []FaultRule) {
	sb.faults.mu.Lock()
	defer sb.faults.mu.Unlock()
	sb.faults.expire()
	for _, f := range sb.faults.rules {
		rules = append(rules, *f)
	}
	return rules
}

// expire removes the rules that have ended. The caller holds the lock.
func (f *faults) expire() {
	f.rules = slices.DeleteFunc(f.rules, func(r *FaultRule) bool { return !r.ends.IsZero() && time.Now().After(r.ends) })
}

// fault returns the rule that applies to a call, or nil, and counts the call.
func (sb *Sandbox) fault(c *call, pattern string) *FaultRule {
	sb.faults.mu.Lock()
	defer sb.faults.mu.Unlock()
	sb.faults.expire()
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
	return strings.Contains(pattern, f.Path) || strings.Contains(c.r.URL.Path, f.Path)
}

// answer processes a call or applies a fault to it. A status of 0 means that no answer is written.
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
			sb.tokens.expire(cl)
		}
		return do(c)
	default:
		return rule.answer(sb.serverTime(time.Now()))
	}
}

func (f *FaultRule) answer(now time.Time) answer {
	a := refuse(f.Status, "%s (a fault of the sandbox)", http.StatusText(f.Status))
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

// reset resets the connection to the caller.
func reset(w http.ResponseWriter) {
	hijacker, canHijack := w.(http.Hijacker)
	if !canHijack {
		panic(http.ErrAbortHandler) // the server closes the connection
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
