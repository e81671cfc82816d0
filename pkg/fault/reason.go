package fault

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// Reason says more precisely than a class why something is not done. The zero value says nothing.
type Reason string

// The reasons.
const (
	NoAnswer    Reason = "no-answer"   // the source can't be reached, or does not answer in time
	Denied      Reason = "denied"      // the source refuses our credentials, or we lack a permission
	Busy        Reason = "busy"        // as many of our calls are under way as the source takes
	Unopened    Reason = "unopened"    // the company's connector refuses its settings
	Damaged     Reason = "damaged"     // the books lack what was booked, or can't be read
	Undelivered Reason = "undelivered" // the source's webhooks do not reach us
	NotRunning  Reason = "not-running" // no process takes the work
	Queued      Reason = "queued"      // other work is before it
)

// ReasonOf is the reason of err. An error that names none and is one of the network has NoAnswer.
func ReasonOf(err error) Reason {
	for next := err; next != nil; {
		var e *Error
		if !errors.As(next, &e) {
			break
		}
		if e.Reason != "" {
			return e.Reason
		}
		next = e.Err
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

// SinceOf is when what err says began; zero: not known.
func SinceOf(err error) time.Time {
	for next := err; next != nil; {
		var e *Error
		if !errors.As(next, &e) {
			break
		}
		if !e.Since.IsZero() {
			return e.Since
		}
		next = e.Err
	}
	return time.Time{}
}

// WithSince is err with the time at which what it says began.
func WithSince(since time.Time, err error) error {
	if err == nil {
		return nil
	}
	return &Error{
		Class: ClassOf(err), UserMessage: UserMessage(err, ""), Field: Field(err), RetryAfter: RetryAfter(err), Source: SourceOf(err), Reason: ReasonOf(err), Since: since, Err: err,
	}
}
