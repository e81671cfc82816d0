package fault

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// Reason is a more precise reason than a class. The zero value means that there is none.
type Reason string

// The reasons.
const (
	NoAnswer    Reason = "no-answer"   // the source can't be reached, or does not answer in time
	Denied      Reason = "denied"      // the source refuses our credentials, or we lack a permission
	Busy        Reason = "busy"        // the source's concurrency limit is reached
	Unopened    Reason = "unopened"    // the company's connector refuses its settings
	Damaged     Reason = "damaged"     // the ERP's books lack a booking, or can't be read
	Undelivered Reason = "undelivered" // the source's webhooks do not reach Tieback
	NotRunning  Reason = "not-running" // no process consumes the events
	Queued      Reason = "queued"      // other events are processed first
)

// ReasonOf returns the reason of err. A network error without a reason has the reason NoAnswer.
func ReasonOf(err error) Reason {
	for e := range chain(err) {
		if e.Reason != "" {
			return e.Reason
		}
	}
	if unanswered(err) {
		return NoAnswer
	}
	return ""
}

func unanswered(err error) bool {
	var n net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return true
	case errors.As(err, &n):
		var op *net.OpError
		return n.Timeout() || errors.As(err, &op)
	}
	return false
}

// SinceOf returns the time when the condition that err reports began, or the zero time if it is unknown.
func SinceOf(err error) time.Time {
	for e := range chain(err) {
		if !e.Since.IsZero() {
			return e.Since
		}
	}
	return time.Time{}
}

// WithSince returns err with the time when the condition that it reports began.
func WithSince(since time.Time, err error) error {
	if err == nil {
		return nil
	}
	e := around(err)
	e.Since = since
	return e
}
