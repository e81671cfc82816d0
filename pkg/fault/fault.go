// Package fault classifies errors. Each error is classified once, where it occurs; callers handle it by class.
//
//	class      the same input again      what the pipeline does
//	permanent  always fails              closes the request details as failed with UserMessage, and dead-letters
//	transient  may succeed               retries with increasing delays
//	throttled  succeeds after RetryAfter waits that long; not counted as an attempt
//	ambiguous  may have succeeded        looks the record up by key, then retries
package fault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Class is the class of an error. An unclassified error is transient.
type Class int

// The classes; see the package comment.
const (
	Transient Class = iota
	Permanent
	Throttled
	Ambiguous
)

func (c Class) String() string {
	return [...]string{"transient", "permanent", "throttled", "ambiguous"}[c]
}

// Error is an error with a class. It must never contain a secret: it is logged and stored in dead letters,
// and its UserMessage is shown to accountants.
type Error struct {
	Class       Class
	UserMessage string        // for the accountant; "": none
	Field       string        // the record's field in the accountant's terms; "": the whole record
	RetryAfter  time.Duration // of a throttled error
	Source      Source        // see From
	Reason      Reason        // more precise than Class; "": see ReasonOf
	Since       time.Time     // when the condition began; zero: unknown
	Err         error         // for the operator
}

func (e *Error) Error() string {
	switch {
	case e.Err != nil:
		return e.Err.Error()
	case e.UserMessage != "":
		return e.UserMessage
	}
	return e.Class.String() + " error"
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Permanentf returns a permanent error whose text is for the accountant.
func Permanentf(format string, args ...any) error {
	return &Error{Class: Permanent, UserMessage: fmt.Sprintf(format, args...)}
}

// Refused returns a permanent error about one field of a record.
func Refused(field, format string, args ...any) error {
	return &Error{Class: Permanent, Field: field, UserMessage: fmt.Sprintf(format, args...)}
}

// New returns err with a class.
func New(class Class, err error) error { return &Error{Class: class, Err: err} }

// Wait returns a throttled error: the call may be retried after d.
func Wait(d time.Duration, err error) error {
	return &Error{Class: Throttled, RetryAfter: d, Err: err}
}

// ClassOf returns the class of err. nil and unclassified errors are transient.
func ClassOf(err error) Class { return outermost(err).Class }

// RetryAfter returns the wait that err asks for, or 0 if there is none.
func RetryAfter(err error) time.Duration { return outermost(err).RetryAfter }

// UserMessage returns the message of err for the accountant, sanitized as by Clean, or otherwise if it has
// none.
func UserMessage(err error, otherwise string) string {
	return cmp.Or(fit(outermost(err).UserMessage, maxError, nil), otherwise)
}

// Stopped reports whether err only means that the caller is shutting down.
func Stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// Field returns the record's field that err is about, or "" if it is the whole record or unknown.
func Field(err error) string { return outermost(err).Field }

// chain yields the errors with a class that err wraps, the outermost first.
func chain(err error) iter.Seq[*Error] {
	return func(yield func(*Error) bool) {
		for e := (*Error)(nil); errors.As(err, &e) && yield(e); err = e.Err {
		}
	}
}

// outermost returns the first error of the chain, or one without any fields.
func outermost(err error) *Error {
	for e := range chain(err) {
		return e
	}
	return &Error{}
}

// around returns an error with the fields of err that wraps err.
func around(err error) *Error {
	e := *outermost(err)
	e.Reason, e.Since, e.Err = ReasonOf(err), SinceOf(err), err
	return &e
}
