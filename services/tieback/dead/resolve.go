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

// TakenError says that somebody has dealt with the letter before.
type TakenError struct{ *tiebackv1.Resolution }

func (e *TakenError) Error() string {
	return fmt.Sprintf("letter %d %s", e.DeadLetter, request.ResolutionText(e.Resolution))
}

// Dealt is what was done with a letter.
type Dealt struct {
	*tiebackv1.Resolution
	Mended bool // the dealing is an earlier one that was cut off: its replay was sent now
}

// reach is how long the broker has to take what one letter needs.
const reach = 30 * time.Second

// Replay sends a letter's message again, as it is. What somebody claimed and did not send is sent
// as it was claimed. A letter that was dealt with already is a TakenError, unless again is
// wanted. Other errors: request.ErrNoDeadLetter, ErrUnworkable, or the broker's.
func (d *Desk) Replay(ctx context.Context, id uint64, again bool) (Dealt, error) {
	ctx, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	l, err := request.WrittenDeadLetter(ctx, d.Bus, id)
	if err != nil {
		return Dealt{}, err
	}
	on, data, err := d.message(ctx, l)
	if err != nil {
		return Dealt{}, err
	}
	n, cut, err := d.turn(ctx, l, on, data, again)
	if err != nil || cut != nil {
		return Dealt{cut, true}, err
	}
	if err := check(on, data); err != nil {
		return Dealt{}, fmt.Errorf("letter %d %w as it is: %w; edit it, or discard it", id, ErrUnworkable, err)
	}
	return d.replay(ctx, l, n, on, data, "")
}

// Discard closes a letter for good, with the reason. Errors: TakenError, request.ErrNoDeadLetter, or the broker's.
func (d *Desk) Discard(ctx context.Context, id uint64, reason string) (Dealt, error) {
	ctx, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	l, err := request.WrittenDeadLetter(ctx, d.Bus, id)
	if err != nil {
		return Dealt{}, err
	}
	deal := d.dealing(l, tiebackv1.Action_ACTION_DISCARDED)
	deal.Reason = reason
	return Dealt{Resolution: deal}, d.claim(ctx, place(l, 1), deal)
}

func (d *Desk) dealing(l request.DeadLetter, action tiebackv1.Action) *tiebackv1.Resolution {
	return &tiebackv1.Resolution{
		CompanyId: l.CompanyId, ErpRequestId: l.ErpRequestId, Type: l.Type, DeadLetter: l.ID, Action: action, Who: d.Who, At: timestamppb.Now(),
	}
}

// place is the subject of a letter's n-th dealing, from 1.
func place(l request.DeadLetter, n int) bus.Subject {
	run := fmt.Sprint(l.ID)
	if n > 1 {
		run = fmt.Sprintf("%d-%d", l.ID, n)
	}
	return bus.For(bus.Resolution, l.Type, l.CompanyId, l.ErpRequestId).WithRun(run)
}

// turn is the number of a letter's next dealing. Where the last one is a replay that was cut off,
// it is sent now, and returned: cut. Where it stands, that is a TakenError, unless again is wanted.
func (d *Desk) turn(ctx context.Context, l request.DeadLetter, on bus.Subject, data []byte, again bool) (n int, cut *tiebackv1.Resolution, err error) {
	var last *tiebackv1.Resolution
	for n = 1; ; n++ {
		deal, err := d.standing(ctx, place(l, n))
		if err != nil {
			return n, nil, err
		}
		if deal == nil {
			break
		}
		last = deal
	}
	if last == nil {
		return n, nil, nil
	}
	sent, err := d.mend(ctx, last, on, data)
	switch {
	case err != nil:
		return n, nil, err
	case sent:
		return n, last, nil
	case !again:
		return n, nil, &TakenError{last}
	}
	return n, nil, nil
}

// standing reads a dealing; nil: there is none.
func (d *Desk) standing(ctx context.Context, at bus.Subject) (*tiebackv1.Resolution, error) {
	m, there, err := d.Bus.Last(ctx, at)
	if err != nil || !there {
		return nil, err
	}
	deal := &tiebackv1.Resolution{}
	if err := proto.Unmarshal(m.Data, deal); err != nil {
		return nil, fmt.Errorf("%s holds what no service of ours wrote: %w", at, err)
	}
	return deal, nil
}

// replay claims the letter, then sends its message in a run of its own.
func (d *Desk) replay(ctx context.Context, l request.DeadLetter, n int, on bus.Subject, data []byte, difference string) (Dealt, error) {
	at := place(l, n)
	deal := d.dealing(l, tiebackv1.Action_ACTION_REPLAYED)
	deal.Subject, deal.Difference = on.WithRun(at.Run).String(), difference
	if err := d.claim(ctx, at, deal); err != nil {
		return Dealt{}, err
	}
	_, err := d.send(ctx, deal, data)
	return Dealt{Resolution: deal}, err
}

// claim writes a dealing at its place; a place that is taken is a TakenError.
func (d *Desk) claim(ctx context.Context, at bus.Subject, deal *tiebackv1.Resolution) error {
	if first, err := d.Bus.Claim(ctx, at, deal); first || err != nil {
		return err
	}
	for ctx.Err() == nil { // the replica that answers may not have it yet
		stands, err := d.standing(ctx, at)
		switch {
		case err != nil:
			return err
		case proto.Equal(stands, deal): // ours: the broker's first answer was lost
			return nil
		case stands != nil:
			return &TakenError{stands}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return ctx.Err()
}

// send sends the message of a replay, and says whether it was not sent before.
func (d *Desk) send(ctx context.Context, deal *tiebackv1.Resolution, data []byte) (bool, error) {
	s, err := bus.Parse(deal.Subject)
	if err != nil {
		return false, err
	}
	err = d.Bus.Publisher(s.Kind).Publish(ctx, bus.Once(&nats.Msg{Subject: deal.Subject, Data: data}))
	if errors.Is(err, bus.ErrDuplicate) {
		return false, nil
	}
	return err == nil, err
}

// mend sends a replay that was claimed and not sent, as it was claimed, and says whether it
// did. What is older than its stream's memory is left alone: nobody can tell any more.
func (d *Desk) mend(ctx context.Context, deal *tiebackv1.Resolution, on bus.Subject, data []byte) (bool, error) {
	if deal.Action != tiebackv1.Action_ACTION_REPLAYED {
		return false, nil
	}
	age, err := d.Bus.Kept(ctx, on.Kind)
	if err != nil || age > 0 && time.Since(deal.At.AsTime()) >= age {
		return false, err
	}
	if deal.Difference != "" {
		if data, err = redo(on, data, deal.Difference); err != nil {
			return false, fmt.Errorf("letter %d %s, which was cut off: %w", deal.DeadLetter, request.ResolutionText(deal), err)
		}
	}
	return d.send(ctx, deal, data)
}
