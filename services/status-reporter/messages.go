package statusreporter

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// explanation says to an accountant why an event waits, or waited.
type explanation struct {
	problem string // one or two sentences
	ask     string // askOperator; "": the accountant need not ask anyone
	retry   string // when to try again, to follow "please try again"
}

// explain explains an error, which is nil if the reason is not known. It uses the first row that applies. T is a time in the
// company's zone; "since T" or "until T" is left out if the time is not known. The column ask says whether the explanation has
// askOperator.
//
//	source   reason       problem                                                             ask  retry
//	nil      -            The ERP integration has received it, and has not finished it yet.   -    later
//	any      any          the error's user message, if it has one; since T                    -    later
//	any      queued       Other requests are ahead of it.                                     -    later
//	any      not running  The part of the ERP integration that does this is not running.      yes  once it runs
//	any      unopened     … can't connect to your ERP system: its settings are wrong.         yes  once that is corrected
//	any      damaged      The books of your ERP system are damaged, and nothing is booked …   yes  once they are restored
//	ERP      no answer    Your ERP system has not answered since T.                           -    once it answers
//	ERP      denied       Your ERP system has refused the sign-in … since T.                  yes  once that is corrected
//	ERP      busy         Your ERP system is busy with other requests …                       -    later
//	ERP      throttled    Your ERP system takes no more calls until T.                        -    after that
//	ERP      else         Your ERP system has answered with an error since T.                 yes  later
//	Procore  no answer    Procore has not answered the ERP integration since T.               -    once it answers
//	Procore  denied       Procore has refused the sign-in, or a permission … since T.         yes  once that is corrected
//	Procore  busy         Procore is busy with other requests …                               -    later
//	Procore  throttled    Procore takes no more calls from the ERP integration until T.       -    after that
//	Procore  else         Procore has answered with an error since T.                         -    later
//	else     else         An error of the ERP integration itself has delayed this since T.    yes  later
func explain(why error, zone *time.Location, now time.Time) explanation {
	source, reason, throttled := fault.SourceOf(why), fault.ReasonOf(why), fault.ClassOf(why) == fault.Throttled
	since := sinceText(fault.SinceOf(why), zone, now)
	switch {
	case why == nil:
		return explanation{problem: "The ERP integration has received it, and has not finished it yet.", retry: "later"}
	case fault.UserMessage(why, "") != "":
		return explanation{problem: fault.UserMessage(why, "") + sinceSentence(since), retry: "later"}
	case reason == fault.Queued:
		return explanation{problem: "Other requests are ahead of it.", retry: "later"}
	case reason == fault.NotRunning:
		return explanation{"The part of the ERP integration that does this is not running.", askOperator, "once it runs"}
	case reason == fault.Unopened:
		return explanation{"The ERP integration can't connect to your ERP system: its settings are wrong.", askOperator, "once that is corrected"}
	case reason == fault.Damaged:
		return explanation{"The books of your ERP system are damaged, and nothing is booked until they are restored.", askOperator, "once they are restored"}
	case source == fault.FromERP:
		return explainERP(reason, throttled, since, untilText(why, zone, now))
	case source == fault.FromProcore:
		return explainProcore(reason, throttled, since, untilText(why, zone, now))
	}
	return explanation{"An error of the ERP integration itself has delayed this" + since + ".", askOperator, "later"}
}

// askOperator asks the accountant to contact the operator of Tieback.
const askOperator = "Please contact the administrator of your ERP integration."

// explainERP is explain for errors of the ERP.
func explainERP(reason fault.Reason, throttled bool, since, until string) explanation {
	switch {
	case reason == fault.NoAnswer:
		return explanation{"Your ERP system has not answered" + since + ".", "", "once it answers"}
	case reason == fault.Denied:
		return explanation{"Your ERP system has refused the sign-in of the ERP integration" + since + ".", askOperator, "once that is corrected"}
	case reason == fault.Busy:
		return explanation{"Your ERP system is busy with other requests of your company, and this one waits for its turn.", "", "later"}
	case throttled && until == "":
		return explanation{"Your ERP system takes no more calls for the moment.", "", "later"}
	case throttled:
		return explanation{"Your ERP system takes no more calls" + until + ".", "", "after that"}
	}
	return explanation{"Your ERP system has answered with an error" + since + ".", askOperator, "later"}
}

// explainProcore is explain for errors of Procore.
func explainProcore(reason fault.Reason, throttled bool, since, until string) explanation {
	switch {
	case reason == fault.NoAnswer:
		return explanation{"Procore has not answered the ERP integration" + since + ".", "", "once it answers"}
	case reason == fault.Denied:
		return explanation{"Procore has refused the sign-in, or a permission, of the ERP integration" + since + ".", askOperator, "once that is corrected"}
	case reason == fault.Busy:
		return explanation{"Procore is busy with other requests of your company, and this one waits for its turn.", "", "later"}
	case throttled && until == "":
		return explanation{"Procore takes no more calls from the ERP integration for the moment.", "", "later"}
	case throttled:
		return explanation{"Procore takes no more calls from the ERP integration" + until + ".", "", "after that"}
	}
	return explanation{"Procore has answered with an error" + since + ".", "", "later"}
}

// untilText says when a throttled system takes calls again; "": within a minute, or not known.
func untilText(why error, zone *time.Location, now time.Time) string {
	if wait := fault.RetryAfter(why); wait >= time.Minute {
		return " until " + clock(now.Add(wait), zone, now)
	}
	return ""
}

// sinceText says since when an error lasts; "": not known.
func sinceText(t time.Time, zone *time.Location, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + clock(t, zone, now)
}

// sinceSentence makes a sentence of a text of sinceText.
func sinceSentence(since string) string {
	if since == "" {
		return ""
	}
	return " This has been the case" + since + "."
}

// clock formats a time for accountants: in the company's zone, with the day unless it is today.
func clock(t time.Time, zone *time.Location, now time.Time) string {
	zone = cmp.Or(zone, time.UTC)
	t, now = t.In(zone), now.In(zone)
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04 MST")
	}
	return t.Format("15:04 MST on 2 January")
}

// waitingMessage returns the accountant's message for an event that is in progress: why it waits, how long it will be tried, and
// what to do if it fails. why is nil if the reason is not known.
func waitingMessage(why error, deadline time.Time, zone *time.Location, now time.Time) string {
	e := explain(why, zone, now)
	return fmt.Sprintf("This takes longer than usual. %s %sThe ERP integration keeps trying until %s, and then closes this as failed. If that happens, please try again %s: nothing is ever booked twice.",
		e.problem, spaced(e.ask), clock(deadline, zone, now), e.retry)
}

// deadlineError returns the error of an event that was not finished within a time. Its user message says why it waited. why is
// as in waitingMessage.
func deadlineError(limit time.Duration, why error, zone *time.Location, now time.Time) error {
	e := explain(why, zone, now)
	cause := why
	if cause == nil {
		cause = errors.New("no attempt has ended; is the worker running?")
	}
	return &fault.Error{
		Class: fault.ClassOf(why), Source: fault.SourceOf(why), Reason: fault.ReasonOf(why), Since: fault.SinceOf(why),
		Err: fmt.Errorf("not done within %v: %w", limit, cause),
		UserMessage: fmt.Sprintf("This could not be done within %s, so the ERP integration stopped trying. %s %sPlease try again %s: nothing is ever booked twice.",
			durationText(limit), e.problem, spaced(e.ask), e.retry),
	}
}

// durationText formats a duration for accountants.
func durationText(d time.Duration) string {
	switch {
	case d >= 2*time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d hours", d/time.Hour)
	case d >= 2*time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return d.String()
}

// spaced appends a space to a sentence, unless it is empty.
func spaced(s string) string {
	if s == "" {
		return ""
	}
	return s + " "
}
