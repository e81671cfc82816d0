package dead

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// ResolvedError is returned when a dead letter already has a resolution.
type ResolvedError struct{ *tiebackv1.Resolution }

func (e *ResolvedError) Error() string {
	return fmt.Sprintf("dead letter %d %s", e.DeadLetter, request.ResolutionText(e.Resolution))
}

// Resolution describes how a dead letter was resolved.
type Resolution struct {
	*tiebackv1.Resolution
	Resumed bool // an earlier replay was interrupted and has been sent now
}

// timeout limits the calls to the broker for one dead letter.
const timeout = 30 * time.Second

// Replay sends the message of a dead letter again, unchanged. If an earlier replay was interrupted, Replay sends that one.
// If the dead letter already has a resolution, the error is a ResolvedError, unless again is set. Other errors:
// request.ErrNoDeadLetter, ErrNotReplayable, or the broker's.
func (r *Resolver) Replay(ctx context.Context, id uint64, again bool) (Resolution, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	l, err := request.ReadWithoutResolutions(ctx, r.Bus, id)
	if err != nil {
		return Resolution{}, err
	}
	on, data, err := r.message(ctx, l)
	if err != nil {
		return Resolution{}, err
	}
	n, resumed, err := r.next(ctx, l, on, data, again)
	if err != nil || resumed != nil {
		return Resolution{resumed, true}, err
	}
	if err := check(on, data); err != nil {
		return Resolution{}, fmt.Errorf("dead letter %d %w unchanged: %w; edit it, or discard it", id, ErrNotReplayable, err)
	}
	return r.replay(ctx, l, n, on, data, "")
}

// Discard resolves a dead letter without processing it, and stores the reason. Errors: ResolvedError, request.ErrNoDeadLetter, or the broker's.
func (r *Resolver) Discard(ctx context.Context, id uint64, reason string) (Resolution, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	l, err := request.ReadWithoutResolutions(ctx, r.Bus, id)
	if err != nil {
		return Resolution{}, err
	}
	d := r.resolution(l, tiebackv1.Action_ACTION_DISCARDED)
	d.Reason = reason
	return Resolution{Resolution: d}, r.publish(ctx, resolutionSubject(l, 1), d)
}

func (r *Resolver) resolution(l request.DeadLetter, action tiebackv1.Action) *tiebackv1.Resolution {
	return &tiebackv1.Resolution{
		CompanyId: l.CompanyId, ErpRequestId: l.ErpRequestId, Type: l.Type, DeadLetter: l.ID, Action: action, Who: r.Who, At: timestamppb.Now(),
	}
}

// resolutionSubject returns the subject of a dead letter's n-th resolution, counted from 1.
func resolutionSubject(l request.DeadLetter, n int) bus.Subject {
	run := fmt.Sprint(l.ID)
	if n > 1 {
		run = fmt.Sprintf("%d-%d", l.ID, n)
	}
	return bus.For(bus.Resolution, l.Type, l.CompanyId, l.ErpRequestId).WithRun(run)
}

// next returns the number of a dead letter's next resolution. If the latest one is an interrupted replay, next sends it
// and returns it as resumed. If the latest one is complete, the error is a ResolvedError, unless again is set.
func (r *Resolver) next(ctx context.Context, l request.DeadLetter, on bus.Subject, data []byte, again bool) (n int, resumed *tiebackv1.Resolution, err error) {
	var last *tiebackv1.Resolution
	for n = 1; ; n++ {
		d, err := r.read(ctx, resolutionSubject(l, n))
		if err != nil {
			return n, nil, err
		}
		if d == nil {
			break
		}
		last = d
	}
	if last == nil {
		return n, nil, nil
	}
	sent, err := r.resume(ctx, last, on, data)
	switch {
	case err != nil:
		return n, nil, err
	case sent:
		return n, last, nil
	case !again:
		return n, nil, &ResolvedError{last}
	}
	return n, nil, nil
}

// read reads the resolution on a subject; nil if there is none.
func (r *Resolver) read(ctx context.Context, at bus.Subject) (*tiebackv1.Resolution, error) {
	m, found, err := r.Bus.Last(ctx, at)
	if err != nil || !found {
		return nil, err
	}
	d := &tiebackv1.Resolution{}
	if err := proto.Unmarshal(m.Data, d); err != nil {
		return nil, fmt.Errorf("the message on %s is not a resolution: %w", at, err)
	}
	return d, nil
}

// replay publishes the resolution, then sends the message as a run of its own.
func (r *Resolver) replay(ctx context.Context, l request.DeadLetter, n int, on bus.Subject, data []byte, difference string) (Resolution, error) {
	at := resolutionSubject(l, n)
	d := r.resolution(l, tiebackv1.Action_ACTION_REPLAYED)
	d.Subject, d.Difference = on.WithRun(at.Run).String(), difference
	if err := r.publish(ctx, at, d); err != nil {
		return Resolution{}, err
	}
	_, err := r.send(ctx, d, data)
	return Resolution{Resolution: d}, err
}

// publish publishes a resolution. If another one has its subject, the error is a ResolvedError.
func (r *Resolver) publish(ctx context.Context, at bus.Subject, d *tiebackv1.Resolution) error {
	if first, err := r.Bus.PublishIfAbsent(ctx, at, d); first || err != nil {
		return err
	}
	for ctx.Err() == nil { // the replica that answers may not have the message yet
		existing, err := r.read(ctx, at)
		switch {
		case err != nil:
			return err
		case proto.Equal(existing, d): // ours: the broker's first reply was lost
			return nil
		case existing != nil:
			return &ResolvedError{existing}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return ctx.Err()
}

// send sends the message of a replay. It returns false if the message was sent before.
func (r *Resolver) send(ctx context.Context, d *tiebackv1.Resolution, data []byte) (bool, error) {
	s, err := bus.Parse(d.Subject)
	if err != nil {
		return false, err
	}
	err = r.Bus.Publisher(s.Kind).Publish(ctx, bus.IfAbsent(&nats.Msg{Subject: d.Subject, Data: data}))
	if errors.Is(err, bus.ErrDuplicate) {
		return false, nil
	}
	return err == nil, err
}

// resume sends a replay that was interrupted before it was sent, and reports whether it did. A replay older than the
// stream's retention is not resumed: the stream no longer shows whether it was sent.
func (r *Resolver) resume(ctx context.Context, d *tiebackv1.Resolution, on bus.Subject, data []byte) (bool, error) {
	if d.Action != tiebackv1.Action_ACTION_REPLAYED {
		return false, nil
	}
	age, err := r.Bus.Retention(ctx, on.Kind)
	if err != nil || age > 0 && time.Since(d.At.AsTime()) >= age {
		return false, err
	}
	if d.Difference != "" {
		if data, err = reapply(on, data, d.Difference); err != nil {
			return false, fmt.Errorf("dead letter %d %s, and that replay was interrupted: %w", d.DeadLetter, request.ResolutionText(d), err)
		}
	}
	return r.send(ctx, d, data)
}
