// Package trouble says since when a system that a company depends on has not done its part: its ERP,
// Procore, or the connector that Tieback could not open.
//
// A Tracker follows the calls that one process makes to one such system. It costs a lock per call. What it
// knows is written to the broker only while there is trouble; see state.State.SaveTrouble.
package trouble

import (
	"errors"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// Silent is how long a call may be under way, with no other answered meanwhile, before the system counts
// as one that does not answer.
const Silent = 20 * time.Second

// Trouble is what is wrong with one system of a company.
type Trouble struct {
	Company     int64        `json:"company"`
	Source      fault.Source `json:"source"` // "": Tieback itself
	Reason      fault.Reason `json:"reason"` // "": it answers with errors, or asks us to wait (Class)
	Class       fault.Class  `json:"class"`
	Since       time.Time    `json:"since"`                  // the first sign of it after the last call that was answered
	Last        time.Time    `json:"last"`                   // the last sign of it
	Until       time.Time    `json:"until,omitzero"`         // of a throttled system, when it may be called again
	UserMessage string       `json:"user_message,omitempty"` // in the system's own plain words
	Error       string       `json:"error"`                  // for the operator
}

// Of describes an error of a company's system that was seen now, for the first time.
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

// Err is the trouble as an error.
func (t Trouble) Err() error {
	return &fault.Error{
		Class: t.Class, Source: t.Source, Reason: t.Reason, Since: t.Since, UserMessage: t.UserMessage,
		RetryAfter: max(0, time.Until(t.Until)), Err: errors.New(t.Error),
	}
}

// Lasts says whether the trouble was seen lately, or is known to go on.
func (t Trouble) Lasts(now time.Time) bool { return now.Sub(t.Last) < recent || t.Until.After(now) }

// recent is longer than the pipeline waits between two attempts.
const recent = 3 * time.Minute

// same says whether two are one trouble that goes on.
func (t Trouble) same(other Trouble) bool {
	return t.Reason == other.Reason && (t.Class == fault.Throttled) == (other.Class == fault.Throttled)
}
