package worker

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/payload"
)

// calledOff is the error of an event whose request details ended in Procore while it waited, as an approver
// called the export off. It is of no class of package fault: handle alone deals with it.
type calledOff struct {
	stands []*tiebackv1.CloseOut // the request details that were called off, and where they stand
	open   bool                  // others were not
}

func (c *calledOff) Error() string {
	return fmt.Sprintf("request detail %d is %q in Procore", c.stands[0].RequestDetailId, c.stands[0].Stands)
}

const (
	// slowAfter is how long an event may wait for its worker until Procore is asked about it.
	slowAfter = time.Minute
	// lateAfter is the age of a click from which Procore is asked however short the wait here was: the delivery may
	// have waited for the fetcher. It is as long as Procore's longer rate limit, so that a burst that waits for it
	// does not need twice the calls.
	lateAfter = time.Hour
	// mostAsked is how many request details of an event are asked for, a call each.
	mostAsked = 3
)

// before returns what is to be called before the event changes the ERP: where it waited long, came late, or is a replay, it asks
// Procore whether somebody called it off meanwhile, once an attempt. An event that is worked as it comes makes no
// such call, nor does one whose ERP does not answer: a repeat looks the booking up first. nil: nothing is asked.
func (s *Service) before(m bus.Message, t *Task) func(context.Context) error {
	details := payload.Details(t.Event.Payload)
	if len(details) == 0 {
		return nil
	}
	asked := false
	return func(ctx context.Context) error {
		waited := t.Event.Late || time.Since(m.Stored) > cmp.Or(s.Slow, slowAfter) || time.Since(t.Event.RequestedAt.AsTime()) > lateAfter
		if asked || !waited && m.Subject.Run == "" {
			return nil
		}
		off := &calledOff{open: len(details) > mostAsked}
		for _, id := range details[:min(len(details), mostAsked)] {
			status, err := procore.DetailStatus(ctx, t.Procore.Do, id)
			switch {
			case err != nil && fault.ClassOf(err) != fault.Permanent:
				return err
			case procore.DetailCalledOff(status):
				off.stands = append(off.stands, &tiebackv1.CloseOut{RequestDetailId: id, Stands: status})
			default: // it is open, or Procore does not say
				off.open = true
			}
		}
		asked = true
		if off.stands != nil {
			return off
		}
		return nil
	}
}

// leave ends an event that was called off.
//
//	nothing of it was booked, all its details were called off   left alone: Procore is told nothing
//	nothing of it was booked, other details are open            those are closed as failed
//	a part was booked by an earlier attempt                     a dead letter: a person must look in the ERP
func (s *Service) leave(ctx context.Context, m bus.Message, t *Task, off *calledOff) error {
	s.Log.Info("an event that was called off in Procore is not booked", zap.String("subject", m.Raw), zap.Error(off), zap.Bool("booked", t.booked))
	switch {
	case t.booked:
		return &fault.Error{Class: fault.Permanent, Err: fmt.Errorf("called off after a part of it was booked: %w", off),
			UserMessage: "This request was called off in Procore while it was carried out. A part of it is in your ERP system already: look there, and delete it if it is not wanted."}
	case off.open:
		refusal := fault.Permanentf("A part of this request was called off in Procore while it waited, so nothing was done. Please export it again if it is still wanted.")
		return s.publish(ctx, m, t.Event, &tiebackv1.Outcome{CloseOuts: payload.Failed(t.Event.Payload, refusal), ProcoreCalls: 2})
	}
	return s.publish(ctx, m, t.Event, &tiebackv1.Outcome{Left: off.stands[0].Stands, CloseOuts: off.stands, ProcoreCalls: 2})
}
