// Package trouble records since when a system that a company depends on has been failing: its ERP, Procore, or a connector that
// can't be opened.
//
// A Tracker tracks the calls of one process to one system. It costs a lock per call. A trouble is written to the broker only while
// it lasts; see state.State.SaveTrouble.
package trouble

import (
	"errors"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// Silent is how long a call may be in flight, while no other call is answered, before the system counts as unresponsive.
const Silent = 20 * time.Second

// Trouble is a failure of one system of a company.
type Trouble struct {
	Company     int64        `json:"company"`
	Source      fault.Source `json:"source"` // "": Tieback itself
	Reason      fault.Reason `json:"reason"` // "": the system returns errors, or asks to wait (Class)
	Class       fault.Class  `json:"class"`
	Since       time.Time    `json:"since"`                  // the first failure after the last answered call
	Last        time.Time    `json:"last"`                   // the last failure
	Until       time.Time    `json:"until,omitzero"`         // of a throttled system: when it may be called again
	UserMessage string       `json:"user_message,omitempty"` // the system's message for the accountant
	Error       string       `json:"error"`                  // for the operator
}

// Of returns the trouble of an error that occurred now for the first time.
func Of(company int64, err error, now time.Time) Trouble {
	t := Trouble{
		Company: company, Source: fault.SourceOf(err), Reason: fault.ReasonOf(err), Class: fault.ClassOf(err), Since: now, Last: now,
		UserMessage: fault.UserMessage(err, ""), Error: err.Error(),
	}
	if wait := fault.RetryAfter(err); wait > 0 && t.Class == fault.Throttled {
		t.Until = now.Add(wait)
	}
	return t
}

// Err returns the trouble as an error.
func (t Trouble) Err() error {
	return &fault.Error{
		Class: t.Class, Source: t.Source, Reason: t.Reason, Since: t.Since, UserMessage: t.UserMessage,
		RetryAfter: max(0, time.Until(t.Until)), Err: errors.New(t.Error),
	}
}

// Lasts reports whether the trouble occurred recently, or is known to continue.
func (t Trouble) Lasts(now time.Time) bool { return now.Sub(t.Last) < recent || t.Until.After(now) }

// recent is longer than the longest wait of the pipeline between two attempts.
const recent = 3 * time.Minute

// same reports whether two troubles are the same continuing one.
func (t Trouble) same(other Trouble) bool {
	return t.Reason == other.Reason && (t.Class == fault.Throttled) == (other.Class == fault.Throttled)
}
