package trace

import (
	"fmt"
	"strings"

	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// what is the step in words; the close-outs of an outcome follow below.
func what(s Step) string {
	switch t := s.Told; {
	case t == nil:
		return terminal.Line(s.What)
	case s.Kind == "closed":
		return "told Procore"
	case t.Expired:
		return "deadline passed: to be closed as failed"
	case t.Calls == 1:
		return "ended, 1 call to Procore"
	default:
		return fmt.Sprintf("ended, %d calls to Procore", t.Calls)
	}
}

// more are the lines below a step: what Procore was told, or is to be told, of each request detail.
func more(s Step) []string {
	if s.Delivery != nil && s.Delivery.EventID != "" {
		return []string{fmt.Sprintf("event %s, API %s, by user %d", s.Delivery.EventID, s.Delivery.APIVersion, s.Delivery.User)}
	}
	if s.Told == nil {
		return nil
	}
	var out []string
	for _, c := range s.Told.CloseOuts {
		out = append(out, closeOut(c))
		if s.Kind == "closed" {
			out = append(out, marks(c)...)
		}
	}
	if len(out) == 0 {
		out = []string{"nothing to close"}
	}
	if s.Told.DeadLettered {
		out = append(out, "the event lies among the dead letters")
	}
	return out
}

func closeOut(c CloseOut) string {
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
	if c.Stands != "" {
		text += ", though Procore keeps it at " + c.Stands
	}
	return text
}

// marks are those that were made before a close-out. Of one that failed it is not known which were.
func marks(c CloseOut) []string {
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
