package statusreporter

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// TestMessages has a case for each row of the table at explain.
func TestMessages(t *testing.T) {
	chicago, err := time.LoadLocation("America/Chicago")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 12, 1, 15, 3, 0, 0, time.UTC) // 9:03 in Chicago
	since := now.Add(-time.Minute)
	of := func(source fault.Source, class fault.Class, reason fault.Reason) *fault.Error {
		return &fault.Error{Class: class, Source: source, Reason: reason, Since: since, Err: errors.New("dial tcp 10.0.0.1:7070: connection refused")}
	}
	waiting := func(e *fault.Error, d time.Duration) *fault.Error { e.RetryAfter = d; return e }
	words := func(e *fault.Error, s string) *fault.Error { e.UserMessage = s; return e }
	const it = "Please contact the administrator of your ERP integration. "
	for _, c := range []struct {
		name           string
		why            error
		problem, retry string
		ask            bool
	}{
		{"a user message", words(of(fault.FromERP, fault.Transient, ""), "The books are closed for maintenance."),
			"The books are closed for maintenance. This has been the case since 09:02 CST.", "later", false},
		{"the ERP does not answer", of(fault.FromERP, fault.Transient, fault.NoAnswer), "Your ERP system has not answered since 09:02 CST.", "once it answers", false},
		{"the ERP's answer was lost", of(fault.FromERP, fault.Ambiguous, fault.NoAnswer), "Your ERP system has not answered since 09:02 CST.", "once it answers", false},
		{"the ERP hangs, and calls are queued", of(fault.FromERP, fault.Throttled, fault.NoAnswer), "Your ERP system has not answered since 09:02 CST.", "once it answers", false},
		{"the ERP refuses our password", of(fault.FromERP, fault.Transient, fault.Denied), "Your ERP system has refused the sign-in of the ERP integration since 09:02 CST.", "once that is corrected", true},
		{"the ERP is busy", of(fault.FromERP, fault.Throttled, fault.Busy), "Your ERP system is busy with other requests of your company, and this one waits for its turn.", "later", false},
		{"the ERP asks for an hour", waiting(of(fault.FromERP, fault.Throttled, ""), time.Hour), "Your ERP system takes no more calls until 10:03 CST.", "after that", false},
		{"the ERP asks for a second", waiting(of(fault.FromERP, fault.Throttled, ""), time.Second), "Your ERP system takes no more calls for the moment.", "later", false},
		{"the ERP answers with an error", of(fault.FromERP, fault.Transient, ""), "Your ERP system has answered with an error since 09:02 CST.", "later", true},
		{"Procore does not answer", of(fault.FromProcore, fault.Transient, fault.NoAnswer), "Procore has not answered the ERP integration since 09:02 CST.", "once it answers", false},
		{"Procore refuses our secret, or lacks a permission", of(fault.FromProcore, fault.Transient, fault.Denied),
			"Procore has refused the sign-in, or a permission, of the ERP integration since 09:02 CST.", "once that is corrected", true},
		{"Procore is busy", of(fault.FromProcore, fault.Throttled, fault.Busy), "Procore is busy with other requests of your company, and this one waits for its turn.", "later", false},
		{"Procore's limit", waiting(of(fault.FromProcore, fault.Throttled, ""), 20*time.Hour), "Procore takes no more calls from the ERP integration until 05:03 CST on 2 December.", "after that", false},
		{"Procore's spike limit", waiting(of(fault.FromProcore, fault.Throttled, ""), time.Second), "Procore takes no more calls from the ERP integration for the moment.", "later", false},
		{"Procore answers 502", of(fault.FromProcore, fault.Transient, ""), "Procore has answered with an error since 09:02 CST.", "later", false},
		{"the connector's settings are wrong", of("", fault.Transient, fault.Unopened), "The ERP integration can't connect to your ERP system: its settings are wrong.", "once that is corrected", true},
		{"the books are damaged", of("", fault.Transient, fault.Damaged), "The books of your ERP system are damaged, and nothing is booked until they are restored.", "once they are restored", true},
		{"the worker is down", of("", fault.Transient, fault.NotRunning), "The part of the ERP integration that does this is not running.", "once it runs", true},
		{"a panic of ours", of("", fault.Transient, ""), "An error of the ERP integration itself has delayed this since 09:02 CST.", "later", true},
		{"queued", of("", fault.Transient, fault.Queued), "Other requests are ahead of it.", "later", false},
		{"in progress", nil, "The ERP integration has received it, and has not finished it yet.", "later", false},
	} {
		ask := ""
		if c.ask {
			ask = it
		}
		want := "This takes longer than usual. " + c.problem + " " + ask + "The ERP integration keeps trying until 09:17 CST, and then closes this as failed." +
			" If that happens, please try again " + c.retry + ": nothing is ever booked twice."
		if got := waitingMessage(c.why, now.Add(14*time.Minute), chicago, now); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, want)
		}
		want = "This could not be done within 15 minutes, so the ERP integration stopped trying. " + c.problem + " " + ask + "Please try again " + c.retry + ": nothing is ever booked twice."
		if got := fault.UserMessage(deadlineError(15*time.Minute, c.why, chicago, now), ""); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, want)
		}
	}
	if got := waitingMessage(nil, now, nil, now); !strings.Contains(got, "15:03 UTC") {
		t.Errorf("without a zone: %s", got)
	}
}
