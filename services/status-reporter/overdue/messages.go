package overdue

import (
	"cmp"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// reason explains to an accountant why a request waits.
type reason struct {
	what  string // the problem
	ask   string // a request to the reader; "": nothing to do
	again string // when to try again
}

// reasonOf explains an error. T is a time in the company's zone; "since T" or "until T" is left out if it is not known.
// The column ask is "it" if the message asks the reader to contact the administrator of the ERP integration.
//
//	source     reason        what                                                               ask    try again
//	any        own words     the user message of the ERP's connector. Since T.                    -      later
//	ERP        no answer     Your ERP system has not answered since T.                          -      once it answers
//	ERP        denied        Your ERP system has refused the sign-in … since T.                 it     once that is corrected
//	ERP        busy          Your ERP system is busy with other requests …                      -      later
//	ERP        throttled     Your ERP system takes no more calls until T.                       -      after that
//	ERP        else          Your ERP system has answered with an error since T.                it     later
//	Procore    no answer     Procore has not answered the ERP integration since T.              -      once it answers
//	Procore    denied        Procore has refused the sign-in, or a permission … since T.        it     once that is corrected
//	Procore    throttled     Procore takes no more calls from the ERP integration until T.      -      after that
//	Procore    else          Procore has answered with an error since T.                        -      later
//	Tieback    unopened      … can't connect to your ERP system: its settings are wrong.        it     once that is corrected
//	Tieback    damaged       The books of your ERP system are damaged, and nothing is booked …  it     once they are restored
//	Tieback    not running   The part of the ERP integration that does this is not running.     it     once it runs
//	Tieback    else          An error of the ERP integration itself has delayed this since T.   it     later
//	nil        queued        Other requests are before it.                                      -      later
//	nil        else          The ERP integration has received it, and has not finished it yet.  -      later
func reasonOf(why error, zone *time.Location, now time.Time) reason {
	source, about, throttled := fault.SourceOf(why), fault.ReasonOf(why), fault.ClassOf(why) == fault.Throttled
	since := from(fault.SinceOf(why), zone, now)
	switch {
	case why == nil:
		return reason{what: "The ERP integration has received it, and has not finished it yet.", again: "later"}
	case fault.UserMessage(why, "") != "":
		return reason{what: fault.UserMessage(why, "") + sinceSentence(since), again: "later"}
	case about == fault.Queued:
		return reason{what: "Other requests are before it.", again: "later"}
	case about == fault.NotRunning:
		return reason{"The part of the ERP integration that does this is not running.", askOperator, "once it runs"}
	case about == fault.Unopened:
		return reason{"The ERP integration can't connect to your ERP system: its settings are wrong.", askOperator, "once that is corrected"}
	case about == fault.Damaged:
		return reason{"The books of your ERP system are damaged, and nothing is booked until they are restored.", askOperator, "once they are restored"}
	case source == fault.FromERP:
		return ofSystem("Your ERP system", "", about, throttled, since, until(why, zone, now))
	case source == fault.FromProcore:
		return ofSystem("Procore", " from the ERP integration", about, throttled, since, until(why, zone, now))
	}
	return reason{"An error of the ERP integration itself has delayed this" + since + ".", askOperator, "later"}
}

// askOperator is the request to the reader where the column ask is "it".
const askOperator = "Please contact the administrator of your ERP integration."

// ofSystem is reasonOf for errors of the ERP or Procore. whose is the phrase " from the ERP integration", or empty if the
// system is the ERP.
func ofSystem(name, whose string, about fault.Reason, throttled bool, since, until string) reason {
	switch {
	case about == fault.NoAnswer && whose == "":
		return reason{name + " has not answered" + since + ".", "", "once it answers"}
	case about == fault.NoAnswer:
		return reason{name + " has not answered the ERP integration" + since + ".", "", "once it answers"}
	case about == fault.Denied && whose == "":
		return reason{name + " has refused the sign-in of the ERP integration" + since + ".", askOperator, "once that is corrected"}
	case about == fault.Denied:
		return reason{name + " has refused the sign-in, or a permission, of the ERP integration" + since + ".", askOperator, "once that is corrected"}
	case about == fault.Busy:
		return reason{name + " is busy with other requests of your company, and this one waits for its turn.", "", "later"}
	case throttled && until == "":
		return reason{name + " takes no more calls" + whose + " for the moment.", "", "later"}
	case throttled:
		return reason{name + " takes no more calls" + whose + until + ".", "", "after that"}
	case whose == "":
		return reason{name + " has answered with an error" + since + ".", askOperator, "later"}
	}
	return reason{name + " has answered with an error" + since + ".", "", "later"}
}

// until returns the time at which a throttled system takes calls again; "": within a minute, or not known.
func until(why error, zone *time.Location, now time.Time) string {
	if wait := fault.RetryAfter(why); wait >= time.Minute {
		return " until " + Clock(now.Add(wait), zone, now)
	}
	return ""
}

func from(t time.Time, zone *time.Location, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + Clock(t, zone, now)
}

func sinceSentence(since string) string {
	if since == "" {
		return ""
	}
	return " It has been so" + since + "."
}

// Clock formats a time for accountants: in the company's zone, with the day unless it is today.
func Clock(t time.Time, zone *time.Location, now time.Time) string {
	zone = cmp.Or(zone, time.UTC)
	t, now = t.In(zone), now.In(zone)
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04 MST")
	}
	return t.Format("15:04 MST on 2 January")
}

// Waiting returns the message for a request that is still in progress: the reason, how long it will be tried, and what to
// do if it fails. why is as in Expire.
func Waiting(why error, deadline time.Time, zone *time.Location, now time.Time) string {
	r := reasonOf(why, zone, now)
	return fmt.Sprintf("This takes longer than usual. %s %sThe ERP integration keeps trying until %s, and then closes this as failed. If that happens, please try again %s: nothing is ever booked twice.",
		r.what, spaced(r.ask), Clock(deadline, zone, now), r.again)
}

// passed returns the error of an event that missed its deadline.
func passed(limit time.Duration, why error, zone *time.Location, now time.Time) error {
	r := reasonOf(why, zone, now)
	return &fault.Error{
		Class: fault.ClassOf(why), Source: fault.SourceOf(why), Reason: fault.ReasonOf(why), Since: fault.SinceOf(why),
		Err: fmt.Errorf("not done within %v: %w", limit, orUnknown(why)),
		UserMessage: fmt.Sprintf("This could not be done within %s, so the ERP integration stopped trying. %s %sPlease try again %s: nothing is ever booked twice.",
			durationText(limit), r.what, spaced(r.ask), r.again),
	}
}

func spaced(s string) string {
	if s == "" {
		return ""
	}
	return s + " "
}
