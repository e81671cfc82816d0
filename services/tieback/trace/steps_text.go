package trace

import (
	"fmt"
	"strings"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// stepText describes a step in a line. The close-outs of an outcome follow it: see stepLines.
func stepText(s *operatorv1.Step) string {
	switch o := s.GetOutcome(); {
	case o == nil, o.SkipReason != "":
		return terminal.Line(s.Text)
	case s.Kind == "closed":
		return "reported to Procore"
	case o.Expired:
		return "deadline passed: to be closed as failed"
	default:
		return "ended, " + terminal.Count(int(o.ProcoreCalls), "call", "calls") + " to Procore"
	}
}

// stepLines returns the lines below a step: the close-outs and marks. A request that was not processed has none.
func stepLines(s *operatorv1.Step) []string {
	if d := s.GetDelivery(); d.GetEventId() != "" {
		return []string{fmt.Sprintf("event %s, API %s, by user %d", d.EventId, d.ApiVersion, d.UserId)}
	}
	o := s.GetOutcome()
	if o == nil || o.SkipReason != "" {
		return nil
	}
	var out []string
	for _, c := range o.CloseOuts {
		out = append(out, closeOut(c))
		if s.Kind == "closed" {
			out = append(out, marks(c)...)
		}
	}
	if len(out) == 0 {
		out = []string{"nothing to close"}
	}
	if o.DeadLettered {
		out = append(out, "the event is a dead letter")
	}
	return out
}

func closeOut(c *operatorv1.CloseOut) string {
	text := "no request detail: " + c.Status
	if c.RequestDetailId != 0 {
		text = fmt.Sprintf("request detail %d: %s", c.RequestDetailId, c.Status)
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

// marks describes the marks and updates of a close-out. If it failed, it is not known which of them were made.
func marks(c *operatorv1.CloseOut) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, "  "+fmt.Sprintf(format, args...)) }
	verb, before := "marked", ""
	if c.Status == "failed" {
		verb, before = "marked, unless refused:", "unless refused: "
	}
	for _, m := range c.Marks {
		switch {
		case m.OriginId == "":
			add("%s %s %d as not synced", verb, m.ItemType, m.ItemId)
		case m.OriginCode != "":
			add("%s %s %d as %s (%s)", verb, m.ItemType, m.ItemId, m.OriginId, m.OriginCode)
		default:
			add("%s %s %d as %s", verb, m.ItemType, m.ItemId, m.OriginId)
		}
	}
	for _, u := range c.Updates {
		add("%s%s", before, u)
	}
	return out
}
