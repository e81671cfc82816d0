package status

import (
	"fmt"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/bus"
)

// needs says what needs a person, and what to do.
func (v *look) needs() []string {
	needs := []string{}
	for _, u := range v.report.Unasked {
		needs = append(needs, "the broker does not answer for "+u)
	}
	for _, l := range v.report.Losses {
		needs = append(needs, fmt.Sprintf("%v: %s", l, bus.AfterLoss))
	}
	switch v.Unserved {
	case 0:
	case 1:
		needs = append(needs, "1 entry of the companies file has a mistake, and its company is not served: tieback doctor says what to correct")
	default:
		needs = append(needs, fmt.Sprintf("%d entries of the companies file have mistakes, and their companies are not served: tieback doctor says what to correct", v.Unserved))
	}
	needs = append(needs, v.refusals()...)
	var asleep []string
	for _, q := range v.report.Queues {
		if v.Embedded && q.Unfinished() > 0 {
			asleep = append(asleep, messages(q.Unfinished(), "waits", "wait")+" for "+q.Stop)
		}
		switch {
		case q.Waiting > 0 && !q.Taken && !v.Embedded:
			needs = append(needs, fmt.Sprintf("nobody takes the %s for %s: start it", messages(q.Waiting, "that waits", "that wait"), q.Stop))
		case q.Overdue != nil:
			text := fmt.Sprintf("the oldest at %s has waited for %v: ", q.Stop, time.Duration(q.Overdue.Age*float64(time.Second)).Round(time.Second))
			if q.Overdue.Request == 0 { // no service of ours wrote it
				needs = append(needs, text+"it lies on no subject of ours: see the log of "+q.Stop)
				continue
			}
			needs = append(needs, text+fmt.Sprintf("tieback trace %d --company %d says for what", q.Overdue.Request, q.Overdue.Company))
		}
	}
	switch {
	case len(asleep) == 1 && strings.HasPrefix(asleep[0], "1 "):
		needs = append(needs, "tieback run is not running: "+asleep[0]+", and is worked when it runs")
	case len(asleep) > 0:
		needs = append(needs, "tieback run is not running: "+strings.Join(asleep, ", ")+", and are worked when it runs")
	}
	needs = append(needs, v.inTrouble()...)
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

// believed is how long credentials are refused until that is told: the file may follow a rotation in Procore.
const believed = time.Minute

// refusals says once of each client that Procore refuses its credentials.
func (v *look) refusals() (needs []string) {
	told := map[string]bool{}
	for _, c := range v.report.Companies {
		if c.Refusal == nil || v.at.Sub(c.Refusal.Since) < believed || c.Client != "" && told[c.Client] {
			continue
		}
		told[c.Client] = true
		of := fmt.Sprintf("company %d", c.ID)
		if c.Client != "" {
			of = fmt.Sprintf("client %s (company %d and all others that have it)", c.Client, c.ID)
		}
		then := "no call of Procore can be made"
		if c.Refusal.Until != nil {
			then = "the token from before is used until " + c.Refusal.Until.Local().Format("15:04:05")
		}
		needs = append(needs, fmt.Sprintf("Procore has refused the credentials of %s since %s (%d), and %s: correct client_id and client_secret in the companies file, then tieback doctor --company %d says whether Procore takes them",
			of, c.Refusal.Since.Local().Format("2006-01-02 15:04:05"), c.Refusal.Status, then, c.ID))
	}
	return needs
}

// messages counts them, and says what one does, or more do.
func messages(n uint64, one, more string) string {
	if n == 1 {
		return "1 message " + one
	}
	return fmt.Sprintf("%d messages %s", n, more)
}
