package request

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// DeadlineStage is the stage in the dead letters of expired events.
const DeadlineStage = "deadline"

// End is how an event ended: its first outcome. The zero value means that the event has no outcome.
type End struct {
	Outcome *tiebackv1.Outcome // nil: the event has no outcome
	Stored  time.Time
}

// Ended reports whether the event has an outcome.
func (e End) Ended() bool { return e.Outcome != nil }

// Expired reports whether the event ended because its deadline passed. If a worker finishes it afterwards, that outcome is late.
func (e End) Expired() bool { return e.Outcome.GetExpired() }

// EndOf returns the end of an event.
func EndOf(ctx context.Context, b *bus.Bus, event bus.Message) (End, error) {
	m, ended, err := b.Last(ctx, outcomeOf(event))
	if err != nil || !ended {
		return End{}, err
	}
	e := End{Outcome: &tiebackv1.Outcome{}, Stored: m.Stored}
	if proto.Unmarshal(m.Data, e.Outcome) != nil { // a malformed outcome ends the event too
		e.Outcome = &tiebackv1.Outcome{}
	}
	return e, nil
}

// replicaLag is how long a replica may lag behind its leader.
const replicaLag = 10 * time.Second

// AwaitEnd is EndOf for a caller whose outcome the broker refused because the event already has one. A lagging replica may
// not have that outcome yet, so AwaitEnd tries for 10 seconds; then it returns a transient error.
func AwaitEnd(ctx context.Context, b *bus.Bus, event bus.Message) (End, error) {
	ctx, cancel := context.WithTimeout(ctx, replicaLag)
	defer cancel()
	for {
		if e, err := EndOf(ctx, b, event); e.Ended() || err != nil {
			return e, err
		}
		select {
		case <-ctx.Done():
			return End{}, fault.New(fault.Transient, fmt.Errorf("%s has a message, but it can't be read", outcomeOf(event)))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Expire ends an event whose deadline has passed and that has no outcome: it publishes o, which closes the event as failed, and
// dead-letters the event. It reports whether the event has expired, through this call or an earlier one. It is idempotent.
//
//	the worker is first  the event does not expire
//	Expire is first      the event is closed as failed and dead-lettered. The worker does not start it again. If the worker
//	                     is processing it, the worker's outcome is late: the records are still marked as synced in
//	                     Procore, but the status that was reported first stays
func Expire(ctx context.Context, b *bus.Bus, event bus.Message, o *tiebackv1.Outcome, cause error) (bool, error) {
	o.DeadLettered, o.Expired = true, true
	first, err := b.PublishIfAbsent(ctx, outcomeOf(event), o)
	if err != nil {
		return false, err
	}
	if first {
		return true, b.DeadLetter(ctx, DeadlineStage, event, cause)
	}
	end, err := AwaitEnd(ctx, b, event)
	if err == nil {
		err = RepairExpired(ctx, b, event, end)
	}
	return end.Expired(), err
}

// RepairExpired dead-letters an event that has expired and has no dead letter, because the process that published its outcome
// stopped too early. It does nothing for an event that ended otherwise. Call it before the event is acked.
func RepairExpired(ctx context.Context, b *bus.Bus, event bus.Message, end End) error {
	if !end.Expired() {
		return nil
	}
	dead := event.Subject
	dead.Kind = bus.Dead
	if has, err := b.Has(ctx, dead); err != nil || has {
		return err
	}
	cause := &fault.Error{Err: fmt.Errorf("not finished within %v", end.Stored.Sub(event.Stored).Round(time.Second))}
	for _, c := range end.Outcome.CloseOuts {
		if len(c.Messages) > 0 {
			cause.UserMessage = strings.Join(c.Messages, " ")
			break
		}
	}
	return b.DeadLetter(ctx, DeadlineStage, event, cause)
}

func outcomeOf(event bus.Message) bus.Subject {
	s := event.Subject
	s.Kind = bus.Outcome
	return s
}
