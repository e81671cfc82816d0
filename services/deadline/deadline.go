// Package deadline ends events that are not done in time, so that no button in Procore stays
// busy. Its outcome has the same once-mark as the worker's own: whichever is written first is told.
//
//	the worker is first    nothing expires
//	the deadline is first  told as failed, the event dead-lettered; the worker leaves the event
//	                       alone from then on, and what it did meanwhile goes out as a late outcome:
//	                       the marks are made, and Procore keeps the failure if those are its rules
package deadline

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/payload"
)

// Stop is the stop that dead letters of expired events name.
const Stop = "deadline"

// Limits are how long an event may take, from when its payload came.
type Limits struct {
	Interactive time.Duration // somebody waits for it
	Sync        time.Duration // it pages through the ERP
}

// Of is the limit of a category's events.
func (l Limits) Of(c catalogue.Category) time.Duration {
	if c == catalogue.Sync {
		return l.Sync
	}
	return l.Interactive
}

// Expire closes an event as failed unless its worker was first. why says what it waited for; nil: nothing
// is known. Times are told in the company's zone. It says whether the deadline was first. Twice is harmless.
func Expire(ctx context.Context, b *bus.Bus, m bus.Message, e *tiebackv1.Event, limit time.Duration, why error, zone *time.Location) (bool, error) {
	cause := passed(limit, why, zone, time.Now())
	o := &tiebackv1.Outcome{
		CompanyId: e.CompanyId, ErpRequestId: e.ErpRequestId, Type: e.Type, RequestedAt: e.RequestedAt,
		CloseOuts: payload.Failed(e.Payload, cause), DeadLettered: true, Expired: true, ProcoreCalls: 1,
	}
	won, err := b.Claim(ctx, outcome(m), o)
	if err != nil {
		return false, err
	}
	if won {
		return true, b.Bury(ctx, Stop, m, cause)
	}
	_, expired, err := Claimed(ctx, b, m)
	return expired, err
}

// Claimed is Ended for whoever has just found the outcome's place taken: where the replica that answers
// does not have it yet, it is asked again.
func Claimed(ctx context.Context, b *bus.Bus, m bus.Message) (ended, expired bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	for {
		if ended, expired, err = Ended(ctx, b, m); ended || err != nil {
			return ended, expired, err
		}
		select {
		case <-ctx.Done():
			return false, false, fault.New(fault.Transient, fmt.Errorf("%s is taken, and can't be read", outcome(m)))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// reach is how long a replica may lag.
const reach = 10 * time.Second

func orUnknown(err error) error {
	if err == nil {
		return fmt.Errorf("no attempt has ended; is the worker running?")
	}
	return err
}

// words is a duration as people say it.
func words(d time.Duration) string {
	switch {
	case d >= 2*time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d hours", d/time.Hour)
	case d >= 2*time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return d.String()
}

// Ended says whether an event has its outcome, and whether that is because its deadline passed:
// then it also sees to it that the event lies among the dead letters, in case whoever told it
// ended in between.
func Ended(ctx context.Context, b *bus.Bus, m bus.Message) (ended, expired bool, err error) {
	last, ended, err := b.Last(ctx, outcome(m))
	if err != nil || !ended {
		return false, false, err
	}
	o := &tiebackv1.Outcome{}
	if proto.Unmarshal(last.Data, o) != nil || !o.Expired {
		return true, false, nil
	}
	dead := m.Subject
	dead.Kind = bus.Dead
	buried, err := b.Has(ctx, dead)
	if err != nil || buried {
		return true, true, err
	}
	return true, true, b.Bury(ctx, Stop, m, told(o, last.Stored.Sub(m.Stored)))
}

// told is the error of an event whose deadline has passed, from the outcome that says so.
func told(o *tiebackv1.Outcome, took time.Duration) error {
	e := &fault.Error{Err: fmt.Errorf("not done within %v", took.Round(time.Second))}
	for _, c := range o.CloseOuts {
		if len(c.Messages) > 0 {
			e.UserMessage = strings.Join(c.Messages, " ")
			break
		}
	}
	return e
}

func outcome(m bus.Message) bus.Subject {
	s := m.Subject
	s.Kind = bus.Outcome
	return s
}
