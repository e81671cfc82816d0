package status

import (
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/catalogue"
)

// slack is how much longer than an event's deadline a queue's oldest may wait until that is told.
const slack = time.Minute

// needs says what needs a person, and what to do.
func (v *look) needs() []string {
	needs := []string{}
	for _, u := range v.report.Unasked {
		needs = append(needs, "the broker does not answer for "+u)
	}
	for _, q := range v.report.Queues {
		limit := v.Limits.Of(catalogue.Category(q.Stop)) + slack
		switch {
		case q.Waiting > 0 && !q.Taken:
			needs = append(needs, fmt.Sprintf("nobody takes the %d messages that wait for %s: start it", q.Waiting, q.Stop))
		case q.Oldest != nil && limit > slack && *q.Oldest > limit.Seconds():
			needs = append(needs, fmt.Sprintf("the oldest at %s has waited for %v: tieback trace %d --company %d says for what",
				q.Stop, time.Duration(*q.Oldest*float64(time.Second)).Round(time.Second), q.Of.Request, q.Of.Company))
		}
	}
	letters := 0
	for _, c := range v.report.Companies {
		letters += c.Dead
	}
	if letters == 1 {
		needs = append(needs, "1 dead letter waits for somebody: tieback dead list")
	} else if letters > 1 {
		needs = append(needs, fmt.Sprintf("%d dead letters wait for somebody: tieback dead list", letters))
	}
	return needs
}
