package trace

import (
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Steps converts the history of a request. Payloads and differences are included only if payload is set.
func Steps(history []request.Step, payload bool) (all []*operatorv1.Step) {
	for _, h := range history {
		s := &operatorv1.Step{At: at(h.At), Kind: string(h.Kind), Run: utf8(h.Run), By: h.By(), Text: utf8(h.Text()), Subject: utf8(h.Subject), Sequence: h.Sequence}
		switch m := h.Message.(type) { // none of them if the message is malformed
		case *tiebackv1.Delivery:
			s.Message = &operatorv1.Step_Delivery{Delivery: &operatorv1.DeliveryStep{
				EventId: m.EventId, ApiVersion: m.ApiVersion, ProjectId: m.ProjectId, UserId: m.UserId, Occurred: valid(m.OccurredAt), Received: valid(m.ReceivedAt),
			}}
			if m.EventId == "" {
				s.By, s.Text = "sweep", "a sweep found it among Procore's open request details"
			}
		case *tiebackv1.Event:
			e := &operatorv1.EventStep{PayloadBytes: int64(len(m.Payload))}
			if payload {
				e.Payload = utf8(string(m.Payload))
			}
			s.Message = &operatorv1.Step_Event{Event: e}
		case *tiebackv1.Outcome:
			s.Message = &operatorv1.Step_Outcome{Outcome: outcomeOf(m)}
		case *tiebackv1.DeadLetter:
			s.Message = &operatorv1.Step_DeadLetter{DeadLetter: &operatorv1.DeadLetterStep{
				Id: h.Sequence, Stage: m.Stage, Class: request.ClassName(m.Class), Cause: request.CauseName(m.Cause), Attempts: m.Attempts, Error: m.Error, UserMessage: m.UserMessage,
			}}
		case *tiebackv1.Resolution:
			d := &operatorv1.ResolutionStep{
				DeadLetter: m.DeadLetter, Action: request.ActionName(m.Action), Who: m.Who, Reason: m.Reason, Replay: m.Subject, Edited: m.Difference != "",
			}
			if payload {
				d.Difference = m.Difference
			}
			s.Message = &operatorv1.Step_Resolution{Resolution: d}
		}
		all = append(all, s)
	}
	return all
}

// utf8 replaces bytes that a string of a message can't have. The broker does not check subjects, nor Procore payloads.
func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// steps fills the timeline's steps from the history.
func (r *reader) steps(history []request.Step) {
	for _, s := range Steps(history, r.Payload) {
		if who := r.replayedBy(s.Subject); who != "" {
			s.By, s.Text = who, "replayed: "+s.Text
		}
		r.since(s)
		r.Steps = append(r.Steps, s)
	}
}

func outcomeOf(o *tiebackv1.Outcome) *operatorv1.OutcomeStep {
	out := &operatorv1.OutcomeStep{DeadLettered: o.DeadLettered, Expired: o.Expired, SkipReason: o.SkipReason, ProcoreCalls: o.ProcoreCalls}
	for _, c := range o.CloseOuts {
		d := &operatorv1.CloseOut{
			RequestDetailId: c.RequestDetailId, Record: c.Record, Status: request.StatusName(c.Status), Messages: c.Messages, KeptStatus: c.KeptStatus,
		}
		for _, m := range c.Marks {
			d.Marks = append(d.Marks, &operatorv1.Mark{ItemType: m.ItemType, ItemId: m.ItemId, OriginId: m.OriginId, OriginCode: m.OriginCode})
		}
		update := func(format string, args ...any) { d.Updates = append(d.Updates, fmt.Sprintf(format, args...)) }
		for _, a := range c.Assignments {
			update("line item type %d of cost code %d in project %d marked as synced", a.LineItemTypeId, a.CostCodeId, a.ProjectId)
		}
		for _, t := range c.BudgetTransactions {
			update("budget transaction %d of project %d marked as synced with %s", t.Id, t.ProjectId, t.OriginId)
		}
		for _, u := range c.Unlinks {
			update("%s %d unlinked", u.ItemType, u.ItemId)
		}
		for _, l := range c.Links {
			update("link of %s %d to %q stored", l.ItemType, l.ItemId, l.OriginId)
		}
		out.CloseOuts = append(out.CloseOuts, d)
	}
	return out
}
