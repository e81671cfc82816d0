package trace

import (
	"fmt"
	"strings"

	"github.com/tieback/tieback/services/console/operator/trace"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// stepText describes a step in a line. The close-outs of an outcome follow it: see stepLines.
func stepText(s trace.Step) string {
	switch t := s.Outcome; {
	case t == nil:
		return terminal.Line(s.Text)
	case s.Kind == "closed":
		return "reported to Procore"
	case t.Expired:
		return "deadline passed: to be closed as failed"
	case t.Calls == 1:
		return "ended, 1 call to Procore"
	default:
		return fmt.Sprintf("ended, %d calls to Procore", t.Calls)
	}
}

// stepLines returns the lines below a step: the close-outs and marks.
func stepLines(s trace.Step) []string {
	if s.Delivery != nil && s.Delivery.EventID != "" {
		return []string{fmt.Sprintf("event %s, API %s, by user %d", s.Delivery.EventID, s.Delivery.APIVersion, s.Delivery.User)}
	}
	if s.Outcome == nil {
		return nil
	}
	var out []string
	for _, c := range s.Outcome.CloseOuts {
		out = append(out, closeOut(c))
		if s.Kind == "closed" {
			out = append(out, marks(c)...)
		}
	}
	if len(out) == 0 {
		out = []string{"nothing to close"}
	}
	if s.Outcome.DeadLettered {
		out = append(out, "the event is a dead letter")
	}
	return out
}

func closeOut(c trace.CloseOut) string {
	text := "no request detail: " + c.Status
	if c.Detail != 0 {
		text = fmt.Sprintf("request detail %d: %s", c.Detail, c.Status)
	}
	if c.Record != "" {
		text += ", " + c.Record
	}
	if len(c.Messages) > 0 {
		text += fmt.Sprintf(" %q", strings.Join(c.Messages, " "))
	}
	if c.KeptStatus != "" {
		text += ", but Procore keeps the earlier status " + c.KeptStatus
	}
	return text
}

// marks describes the marks of a close-out. If it failed, it is not known which of them were made.
func marks(c trace.CloseOut) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, "  "+fmt.Sprintf(format, args...)) }
	verb := "marked"
	if c.Status == "failed" {
		verb = "marked, unless refused:"
	}
	for _, m := range c.Marks {
		switch {
		case m.OriginID == "":
			add("%s %s %d as not synced", verb, m.Type, m.ID)
		case m.OriginCode != "":
			add("%s %s %d as %s (%s)", verb, m.Type, m.ID, m.OriginID, m.OriginCode)
		default:
			add("%s %s %d as %s", verb, m.Type, m.ID, m.OriginID)
		}
	}
	for _, a := range c.Assignments {
		add("%s line item type %d of cost code %d, project %d, as synced", verb, a.LineItemType, a.CostCode, a.Project)
	}
	for _, t := range c.Transactions {
		add("%s budget transaction %d of project %d as %s", verb, t.ID, t.Project, t.OriginID)
	}
	for _, u := range c.Unlinks {
		add("unlinked %s %d", u.Type, u.ID)
	}
	return out
}
