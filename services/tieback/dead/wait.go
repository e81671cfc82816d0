package dead

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Watch waits for the ends of replays. Make it before the first is sent.
type Watch struct {
	desk  *Desk
	after map[bus.Kind]uint64
}

// End is how a replay ended: closed, or given up again.
type End struct {
	Letter uint64
	At     time.Time
	Closed *tiebackv1.Outcome    // what Procore was told; nil: it was given up
	Again  uint64                // the new letter where it was given up
	Dead   *tiebackv1.DeadLetter // the same
}

// Watch notes where the streams stand.
func (d *Desk) Watch(ctx context.Context) (*Watch, error) {
	w := &Watch{desk: d, after: map[bus.Kind]uint64{}}
	for _, k := range []bus.Kind{bus.Closed, bus.Dead} {
		last, err := d.Bus.LastSequence(ctx, k)
		if err != nil {
			return nil, err
		}
		w.after[k] = last
	}
	return w, nil
}

// Wait tells how each replay ended, as it ends, one after the other; it returns when all have, or
// with ctx's error.
func (w *Watch) Wait(ctx context.Context, replays []*tiebackv1.Resolution, tell func(End)) error {
	if len(replays) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	open := map[bus.Subject]uint64{}
	for _, r := range replays {
		if s, err := bus.Parse(r.Subject); err == nil {
			open[whose(s)] = r.DeadLetter
		}
	}
	var mu sync.Mutex
	g, both := errgroup.WithContext(ctx) // when one kind fails, the other's end is not waited for
	for kind, after := range w.after {
		q := bus.Scan{Kind: kind, Subjects: []string{fmt.Sprintf("tb.%s.*.*.*.*.*", kind)}, After: after, Follow: true}
		g.Go(func() error {
			err := w.desk.Bus.Scan(both, q, func(m bus.Message) (err error) {
				mu.Lock()
				defer mu.Unlock()
				s := whose(m.Subject)
				if open[s] == 0 {
					return nil
				}
				if kind == bus.Closed {
					if m, err = w.deadBefore(both, m); err != nil {
						return err
					}
				}
				tell(end(open[s], m))
				delete(open, s)
				if len(open) == 0 {
					cancel()
					return bus.ErrSeen
				}
				return nil
			})
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if len(open) > 0 {
		return context.Cause(ctx)
	}
	return nil
}

// whose is what all messages of one run have in common: a delivery's type is not known yet.
func whose(s bus.Subject) bus.Subject {
	return bus.Subject{Company: s.Company, Request: s.Request, Run: s.Run}
}

// deadBefore returns the dead letter of the run that m closed, and m where there is none. A run that
// is given up writes its dead letter first and is closed as failed afterwards; the two streams are
// read side by side, so the close may be read first.
func (w *Watch) deadBefore(ctx context.Context, m bus.Message) (bus.Message, error) {
	s := m.Subject
	dead, found, err := w.desk.Bus.Last(ctx, bus.Any(bus.Dead, s.Company, s.Request).WithRun(s.Run))
	if err != nil || !found {
		return m, err
	}
	return dead, nil
}

func end(letter uint64, m bus.Message) End {
	e := End{Letter: letter, At: m.Stored}
	if m.Subject.Kind == bus.Dead {
		e.Again, e.Dead = m.Sequence, request.ParseDeadLetter(m).DeadLetter
		return e
	}
	e.Closed = &tiebackv1.Outcome{}
	_ = proto.Unmarshal(m.Data, e.Closed) // what does not parse closed nothing
	return e
}
