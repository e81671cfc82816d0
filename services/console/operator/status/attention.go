package status

import (
	"fmt"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/bus"
)

// Attention is a problem that a person must solve.
type Attention struct {
	Kind    string    `json:"kind"`            // one of the constants below
	Company int64     `json:"company_id"`      // 0: of no single company
	Stage   string    `json:"stage"`           // "": of no single stage
	Text    string    `json:"text"`            // what is wrong
	Action  string    `json:"action"`          // what to do
	Since   time.Time `json:"since,omitzero"`  // zero: not known
	Count   uint64    `json:"count,omitempty"` // of the messages or dead letters concerned; 0: not counted
}

// The kinds of Attention.
const (
	KindBroker      = "broker"         // the broker does not answer all requests
	KindLoss        = "loss"           // a stream has lost messages
	KindFile        = "companies-file" // entries have mistakes
	KindCredentials = "credentials"    // Procore refuses them
	KindQueue       = "queue"          // no process pulls waiting messages
	KindOverdue     = "overdue"        // a message is past its deadline
	KindERP         = "erp"            // a company's ERP fails
	KindProcore     = "procore"        // Procore fails for a company
	KindHook        = "hook"           // Procore's deliveries do not reach ingest
	KindTieback     = "tieback"        // attempts fail in Tieback itself, or its settings
	KindDeadLetters = "dead-letters"   // they are unresolved
)

// String returns the text and the action.
func (a Attention) String() string { return a.Text + ": " + a.Action }

// attention returns what needs attention.
func (v *reading) attention() []Attention {
	all := []Attention{}
	add := func(a Attention) { all = append(all, a) }
	for _, u := range v.report.Unread {
		add(Attention{Kind: KindBroker, Text: "the broker did not answer: " + u, Action: "run tieback doctor"})
	}
	for _, l := range v.report.Losses {
		add(Attention{Kind: KindLoss, Text: l.String(), Action: bus.LossAction, Count: l.Missing})
	}
	if n := v.InvalidEntries; n > 0 {
		text := count(uint64(n), "entry of the companies file has a mistake, and its company is not served", "entries of the companies file have mistakes, and their companies are not served")
		add(Attention{Kind: KindFile, Text: text, Action: "tieback doctor lists the mistakes", Count: uint64(n)}) //nolint:gosec // a count
	}
	all = append(all, v.refusedCredentials()...)
	for _, q := range v.report.Queues {
		if a, needed := v.queueAttention(q); needed {
			add(a)
		}
	}
	if v.Embedded {
		all = append(all, v.stopped()...)
	}
	all = append(all, v.troubledSystems()...)
	unresolved := uint64(0)
	for _, c := range v.report.Companies {
		unresolved += uint64(c.DeadLetters) //nolint:gosec // a count
	}
	if unresolved > 0 {
		add(Attention{Kind: KindDeadLetters, Text: count(unresolved, "dead letter is unresolved", "dead letters are unresolved"), Action: "tieback dead list", Count: unresolved})
	}
	return all
}

func (v *reading) queueAttention(q Queue) (Attention, bool) {
	switch {
	case q.idle() && !v.Embedded:
		return Attention{
			Kind: KindQueue, Stage: q.Stage, Count: q.Waiting, Action: "start the service " + q.Stage,
			Text: fmt.Sprintf("%s for %s, and no process pulls them", count(q.Waiting, "message waits", "messages wait"), q.Stage),
		}, true
	case q.Overdue == nil:
		return Attention{}, false
	}
	a := Attention{
		Kind: KindOverdue, Stage: q.Stage, Company: q.Overdue.Company, Since: v.report.At.Add(-duration(q.Overdue.Age)),
		Text: fmt.Sprintf("a message at %s is past its deadline, at an age of %v", q.Stage, duration(q.Overdue.Age).Round(time.Second)),
	}
	if q.Overdue.Request == 0 {
		a.Action = "it is on a subject that no service writes, see the log of " + q.Stage
	} else {
		a.Action = fmt.Sprintf("tieback trace %d --company %d shows why it waits", q.Overdue.Request, q.Overdue.Company)
	}
	return a, true
}

// stopped reports the messages in the embedded broker.
func (v *reading) stopped() []Attention {
	var waiting []string
	n := uint64(0)
	for _, q := range v.report.Queues {
		if q.Unfinished() > 0 {
			n += q.Unfinished()
			waiting = append(waiting, count(q.Unfinished(), "message waits", "messages wait")+" for "+q.Stage)
		}
	}
	if n == 0 {
		return nil
	}
	return []Attention{{Kind: KindQueue, Text: "tieback run is not running, and " + strings.Join(waiting, ", "), Action: "start tieback run", Count: n}}
}

// refusedAfter is how long Procore must refuse credentials before that is reported: after a rotation in Procore, the
// companies file may be changed a moment later.
const refusedAfter = time.Minute

// refusedCredentials returns each client whose credentials Procore refuses, once.
func (v *reading) refusedCredentials() (all []Attention) {
	seen := map[string]bool{}
	for _, c := range v.report.Companies {
		if c.Refusal == nil || v.at.Sub(c.Refusal.Since) < refusedAfter || c.Client != "" && seen[c.Client] {
			continue
		}
		seen[c.Client] = true
		whose := fmt.Sprintf("company %d", c.ID)
		if c.Client != "" {
			whose = fmt.Sprintf("client %s (company %d and all others that use it)", c.Client, c.ID)
		}
		then := "no call to Procore can be made"
		if c.Refusal.Until != nil {
			then = "the previous token is used until " + c.Refusal.Until.Local().Format(time.TimeOnly)
		}
		all = append(all, Attention{
			Kind: KindCredentials, Company: c.ID, Since: c.Refusal.Since,
			Text:   fmt.Sprintf("Procore has refused the credentials of %s since %s (status %d), and %s", whose, c.Refusal.Since.Local().Format(time.DateTime), c.Refusal.Status, then),
			Action: fmt.Sprintf("correct client_id and client_secret in the companies file, then check them with tieback doctor --company %d", c.ID),
		})
	}
	return all
}

// count returns a number and the words for one or for several.
func count(n uint64, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
