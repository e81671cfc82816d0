package worker

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// calledOff is the error of an event whose request details were called off in Procore before the event was
// processed, or have an unknown status. It has no class of package fault; only handle checks for it.
type calledOff struct {
	details []*tiebackv1.CloseOut // these request details, with their status in Procore
	open    bool                  // the event has other request details, with another status or not checked
}

func (c *calledOff) Error() string {
	return fmt.Sprintf("request detail %d is %q in Procore", c.details[0].RequestDetailId, c.details[0].KeptStatus)
}

const (
	// checkAfter is how long an event may wait for its worker before Procore is asked about it.
	checkAfter = time.Minute
	// From this age on, Procore is always asked about a request, because its delivery may have waited for the
	// fetcher. The age equals Procore's longer rate limit window: if it were shorter, a burst that waits for
	// that limit would make one more call for each request.
	checkAge = time.Hour
	// maxChecked is the number of request details of an event that are checked, with one call each.
	maxChecked = 3
)

// beforeWrite returns the function to call before the event changes the ERP, or nil if there is nothing to
// check. If the event waited long, came late or is a replay, the function asks Procore, once per attempt,
// whether the request was called off. An event that is processed promptly makes no such call. Neither does
// one whose booking exists already, because a redelivered event looks its booking up first.
func (s *Service) beforeWrite(m bus.Message, t *Task) func(context.Context) error {
	details := t.Payload.Details
	if len(details) == 0 {
		return nil
	}
	checked := false
	return func(ctx context.Context) error {
		waited := t.Event.Delayed || time.Since(m.Stored) > cmp.Or(s.Slow, checkAfter) || time.Since(t.Event.RequestedAt.AsTime()) > checkAge
		if checked || !waited && m.Subject.Run == "" {
			return nil
		}
		off := &calledOff{open: len(details) > maxChecked}
		for _, id := range details[:min(len(details), maxChecked)] {
			status, err := procore.DetailStatus(ctx, t.Procore.Do, id)
			switch {
			case err != nil && fault.ClassOf(err) != fault.Permanent:
				return err
			case procore.PreventsProcessing(status):
				off.details = append(off.details, &tiebackv1.CloseOut{RequestDetailId: id, KeptStatus: status})
			default: // it is open or ended, or Procore does not show its status
				off.open = true
			}
		}
		checked = true
		if off.details != nil {
			return off
		}
		return nil
	}
}

// finishCalledOff ends an event that was called off.
//
//	nothing booked, all details called off     not processed: nothing is reported to Procore
//	nothing booked, other details still open   the open details are closed as failed
//	an earlier attempt booked a part           a dead letter: a person must check the ERP
func (s *Service) finishCalledOff(ctx context.Context, m bus.Message, t *Task, off *calledOff) error {
	s.Log.Info("event was called off in Procore and is not booked", zap.String("subject", m.RawSubject), zap.Error(off), zap.Bool("booked", t.booked))
	switch {
	case t.booked:
		return &fault.Error{Class: fault.Permanent, Err: fmt.Errorf("called off after a part of it was booked: %w", off),
			UserMessage: "This request was called off in Procore while it was being processed. Part of it is already in your ERP system. Check it there, and delete it if you do not want it."}
	case off.open:
		refusal := fault.Permanentf("Part of this request was called off in Procore before it was processed, so nothing was done. Export it again if you still want it.")
		return s.publish(ctx, m, t.Event, &tiebackv1.Outcome{CloseOuts: payload.Failed(t.Event.Payload, refusal), ProcoreCalls: 2})
	}
	return s.publish(ctx, m, t.Event, &tiebackv1.Outcome{SkipReason: off.details[0].KeptStatus, CloseOuts: off.details, ProcoreCalls: 2})
}
