// Package fault classes errors once; everyone handles them by class.
//
//	class      the same input again      what the pipeline does
//	permanent  will always fail          close out as failed with UserMessage, dead-letter
//	transient  may work                  try again, waiting longer each time
//	throttled  works after RetryAfter    wait that long; not counted as an attempt
//	ambiguous  may have worked already   look the record up by key, then try again
package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Class is one of the four; an error nobody classed is transient.
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

// Error is an error of a known class. It must never carry a secret: it is logged,
// stored in dead letters, and its UserMessage is shown to accountants.
type Error struct {
	Class       Class
	UserMessage string        // plain words for the accountant; "": none
	Field       string        // the record's field as the accountant knows it; "": the whole record
	RetryAfter  time.Duration // of a throttled error
	Source      Source        // who said so; see From
	Reason      Reason        // more about why; "": see ReasonOf
	Since       time.Time     // when what Err says began; zero: not known
	Err         error         // what happened, for the operator
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

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Permanentf is a permanent error whose text is written for the accountant.
func Permanentf(format string, args ...any) error {
	return &Error{Class: Permanent, UserMessage: fmt.Sprintf(format, args...)}
}

// Refused is a permanent error about one field of a record.
func Refused(field, format string, args ...any) error {
	return &Error{Class: Permanent, Field: field, UserMessage: fmt.Sprintf(format, args...)}
}

// New classes err.
func New(class Class, err error) error { return &Error{Class: class, Err: err} }

// Wait is a throttled error: not before d has passed.
func Wait(d time.Duration, err error) error {
	return &Error{Class: Throttled, RetryAfter: d, Err: err}
}

// ClassOf finds the class of err; nil and unclassed errors are transient.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Transient
}

// RetryAfter is how long err asks to wait; 0: it does not say.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// UserMessage is what the accountant is told of err, as Clean has it; otherwise stands where err has no words of its own.
func UserMessage(err error, otherwise string) string {
	var e *Error
	if errors.As(err, &e) && e.UserMessage != "" {
		return fit(e.UserMessage, saidMost, nil)
	}
	return otherwise
}

// Stopped says whether err only means that the caller is shutting down.
func Stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// Field is the record's field that err is about; "": the whole record, or unknown.
func Field(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}
