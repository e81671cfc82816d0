package deadletters

import (
	"slices"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Reported says whether the accountant was shown why a letter's message could not be done.
type Reported string

// The values of Reported.
const (
	ReportedYes     Reported = "yes"     // a request detail was closed as failed
	ReportedPending Reported = "pending" // the outcome waits for the status-reporter
	ReportedNo      Reported = "no"      // no request detail says so
)

// ReportOf reads from a request's history what the accountant was shown of a letter: the messages of the
// request details that its run, or a sweep after it, closed as failed. While it is pending, messages are
// those that will be shown; they are nil for ReportedNo.
func ReportOf(l Letter, history []Step) (r Reported, messages []string) {
	run := runOf(l.Subject)
	r = ReportedNo
	for _, s := range history {
		o, ok := s.Message.(*tiebackv1.Outcome)
		if !ok || s.Run != run && (s.Run != bus.Swept || s.At.Before(l.At)) {
			continue
		}
		failed, said := failures(o)
		switch {
		case !failed:
		case s.Kind == bus.Closed && r != ReportedYes:
			r, messages = ReportedYes, said
		case s.Kind == bus.Closed:
			messages = append(messages, said...)
		case r == ReportedNo:
			r, messages = ReportedPending, said
		}
	}
	return r, messages
}

// failures says whether an outcome closes a request detail as failed, and gives the messages of those.
func failures(o *tiebackv1.Outcome) (failed bool, messages []string) {
	for _, c := range o.CloseOuts {
		if c.RequestDetailId == 0 || c.Status != tiebackv1.Status_STATUS_FAILED {
			continue
		}
		failed = true
		for _, m := range c.Messages {
			if !slices.Contains(messages, m) {
				messages = append(messages, m)
			}
		}
	}
	return failed, messages
}
