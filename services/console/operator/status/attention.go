package status

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/state"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

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
	KindPaused      = "paused"         // an operator has paused a company
)

// The kinds of Action.
const (
	ActResolve  = "resolve-dead-letters"
	ActRequests = "look-at-requests"
	ActCompany  = "look-at-company"
	ActCheck    = "run-checks"
	ActLoss     = "accept-loss"
	ActStart    = "start-service"
	ActFile     = "correct-companies-file"
	ActResume   = "resume"
	ActLog      = "read-log"
)

// Line returns the text and the action of an Attention as the command line shows them.
func Line(a *operatorv1.Attention) string {
	text := a.Text + ": " + a.Action.GetText()
	if c := a.Action.GetCommand(); c != "" {
		text += " (" + c + ")"
	}
	return text
}

// doctor is the action to run the checks of a company.
func doctor(company int64, text string) *operatorv1.Action {
	return &operatorv1.Action{Kind: ActCheck, Text: text, Page: fmt.Sprintf("/companies/%d/checks", company), Command: fmt.Sprintf("tieback doctor --company %d", company)}
}

// attention returns what needs attention.
func (v *overview) attention() (all []*operatorv1.Attention) {
	add := func(a *operatorv1.Attention) { all = append(all, a) }
	for _, u := range v.report.Unread {
		add(&operatorv1.Attention{Kind: KindBroker, Text: "the broker did not answer: " + u, Action: &operatorv1.Action{Kind: ActCheck, Text: "check the broker", Command: "tieback doctor"}})
	}
	for _, l := range v.losses {
		add(&operatorv1.Attention{Kind: KindLoss, Text: l.String(), Action: lossAction, Count: l.Missing})
	}
	if n := v.InvalidEntries; n > 0 {
		text := count(uint64(n), "entry of the companies file has a mistake, and its company is not served", "entries of the companies file have mistakes, and their companies are not served")
		add(&operatorv1.Attention{Kind: KindFile, Text: text, Action: &operatorv1.Action{Kind: ActFile, Text: "correct the entries and restart Tieback", Command: "tieback doctor"}, Count: uint64(n)}) //nolint:gosec // a count
	}
	all = append(all, v.refusedCredentials()...)
	for _, q := range v.report.Queues {
		if a := v.queueAttention(q); a != nil {
			add(a)
		}
	}
	if v.Embedded {
		all = append(all, v.stopped()...)
	}
	all = append(all, v.troubledSystems()...)
	for _, c := range v.report.Companies {
		if c.DeadLetters > 0 {
			add(deadLetters(c))
		}
	}
	for _, p := range v.pauses {
		if v.has(p.Company) {
			add(paused(p))
		}
	}
	return all
}

// lossAction is what an operator does about a loss. bus.LossAction is the same with commands.
var lossAction = &operatorv1.Action{
	Kind: ActLoss, Page: "/audit", Command: "tieback losses",
	Text: "restore the broker's data from a backup, or sweep, audit and compare the result with Procore; then accept the loss",
}

func deadLetters(c *operatorv1.CompanyState) *operatorv1.Attention {
	if c.Id == 0 {
		return &operatorv1.Attention{
			Kind: KindDeadLetters, Count: c.DeadLetters, Text: count(c.DeadLetters, "dead letter of no company is unresolved", "dead letters of no company are unresolved"),
			Action: &operatorv1.Action{Kind: ActResolve, Text: "replay or discard them", Page: "/dead", Command: "tieback dead list"},
		}
	}
	return &operatorv1.Attention{
		Kind: KindDeadLetters, CompanyId: c.Id, Count: c.DeadLetters, Text: named(c) + " has " + count(c.DeadLetters, "unresolved dead letter", "unresolved dead letters"),
		Action: &operatorv1.Action{Kind: ActResolve, Text: "replay or discard them", Page: fmt.Sprintf("/dead?company=%d", c.Id), Command: fmt.Sprintf("tieback dead list --company %d", c.Id)},
	}
}

// named returns a company's id, and its name if it has one.
func named(c *operatorv1.CompanyState) string {
	if c.Name == "" {
		return fmt.Sprintf("company %d", c.Id)
	}
	return fmt.Sprintf("company %d (%s)", c.Id, c.Name)
}

func paused(p state.Pause) *operatorv1.Attention {
	text := fmt.Sprintf("company %d is paused", p.Company)
	if p.Stage != "" {
		text = fmt.Sprintf("the stage %s of company %d is paused", p.Stage, p.Company)
	}
	return &operatorv1.Attention{
		Kind: KindPaused, CompanyId: p.Company, Stage: p.Stage, Text: text + " by " + p.Who + ": " + p.Reason, Since: timestamppb.New(p.At),
		Action: &operatorv1.Action{Kind: ActResume, Text: "resume it when the reason has ended", Page: fmt.Sprintf("/companies/%d", p.Company)},
	}
}

// idle reports whether messages wait and no process pulls them.
func idle(q *operatorv1.Queue) bool { return q.Waiting > 0 && !q.Consumed }

// queueAttention returns the attention that a queue needs; nil: none.
func (v *overview) queueAttention(q *operatorv1.Queue) *operatorv1.Attention {
	switch {
	case idle(q) && !v.Embedded:
		return &operatorv1.Attention{
			Kind: KindQueue, Stage: q.Stage, Count: q.Waiting, Action: &operatorv1.Action{Kind: ActStart, Text: "start the service " + q.Stage, Page: "/requests?state=open"},
			Text: fmt.Sprintf("%s for %s, and no process pulls them", count(q.Waiting, "message waits", "messages wait"), q.Stage),
		}
	case q.Overdue == nil:
		return nil
	}
	age := q.OverdueAge.AsDuration()
	a := &operatorv1.Attention{
		Kind: KindOverdue, Stage: q.Stage, CompanyId: q.Overdue.CompanyId, Since: timestamppb.New(v.at.Add(-age)),
		Text: fmt.Sprintf("a message at %s is past its deadline, at an age of %v", q.Stage, age.Round(time.Second)),
	}
	if q.Overdue.RequestId == 0 {
		a.Action = &operatorv1.Action{Kind: ActLog, Text: "it is on a subject that no service writes, see the log of " + q.Stage}
	} else {
		a.Action = &operatorv1.Action{
			Kind: ActRequests, Text: "see why it waits", Page: fmt.Sprintf("/requests/%d/%d", q.Overdue.CompanyId, q.Overdue.RequestId),
			Command: fmt.Sprintf("tieback trace %d --company %d", q.Overdue.RequestId, q.Overdue.CompanyId),
		}
	}
	return a
}

// stopped reports the messages in the embedded broker.
func (v *overview) stopped() []*operatorv1.Attention {
	var waiting []string
	n := uint64(0)
	for _, q := range v.report.Queues {
		if unfinished := q.Waiting + q.InFlight; unfinished > 0 {
			n += unfinished
			waiting = append(waiting, count(unfinished, "message waits", "messages wait")+" for "+q.Stage)
		}
	}
	if n == 0 {
		return nil
	}
	return []*operatorv1.Attention{{Kind: KindQueue, Text: "tieback run is not running, and " + strings.Join(waiting, ", "), Action: &operatorv1.Action{Kind: ActStart, Text: "start it", Command: "tieback run"}, Count: n}}
}

// refusedAfter is how long Procore must refuse credentials before that is reported: after a rotation in Procore, the
// companies file may be changed a moment later.
const refusedAfter = time.Minute

// refusedCredentials returns each client whose credentials Procore refuses, once.
func (v *overview) refusedCredentials() (all []*operatorv1.Attention) {
	seen := map[string]bool{}
	for _, c := range v.report.Companies {
		if c.Refusal == nil || v.at.Sub(c.Refusal.Since.AsTime()) < refusedAfter || c.Client != "" && seen[c.Client] {
			continue
		}
		seen[c.Client] = true
		whose := fmt.Sprintf("company %d", c.Id)
		if c.Client != "" {
			whose = fmt.Sprintf("client %s (company %d and all others that use it)", c.Client, c.Id)
		}
		then := "no call to Procore can be made"
		if c.Refusal.TokenUntil != nil {
			then = "the previous token is used until " + stamp(c.Refusal.TokenUntil.AsTime())
		}
		all = append(all, &operatorv1.Attention{
			Kind: KindCredentials, CompanyId: c.Id, Since: c.Refusal.Since,
			Text:   fmt.Sprintf("Procore has refused the credentials of %s since %s (status %d), and %s", whose, stamp(c.Refusal.Since.AsTime()), c.Refusal.Status, then),
			Action: doctor(c.Id, "correct client_id and client_secret in the companies file, then check them"),
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

// stamp formats a time of a sentence.
func stamp(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }
