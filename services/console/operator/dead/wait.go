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

// Watch waits for the ends of replays. Create it before the first replay is sent.
type Watch struct {
	bus   *bus.Bus
	after map[bus.Kind]uint64
}

// End is the end of a replay: its close-out, or a new dead letter.
type End struct {
	ID     uint64 // the dead letter that was replayed
	At     time.Time
	Closed *tiebackv1.Outcome    // the report to Procore; nil if the replay failed permanently
	NewID  uint64                // the new dead letter if the replay failed permanently
	Dead   *tiebackv1.DeadLetter // likewise
}

// Watch records the current ends of the streams.
func (r *Resolver) Watch(ctx context.Context) (*Watch, error) {
	w := &Watch{bus: r.Bus, after: map[bus.Kind]uint64{}}
	for _, k := range []bus.Kind{bus.Closed, bus.Dead} {
		last, err := r.Bus.LastSequence(ctx, k)
		if err != nil {
			return nil, err
		}
		w.after[k] = last
	}
	return w, nil
}

// Wait calls report with the end of each replay, one call at a time. It returns when all replays have ended, or with
// ctx's error.
func (w *Watch) Wait(ctx context.Context, replays []*tiebackv1.Resolution, report func(End)) error {
	if len(replays) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	open := map[bus.Subject]uint64{}
	for _, r := range replays {
		if s, err := bus.Parse(r.Subject); err == nil {
			open[runOf(s)] = r.DeadLetter
		}
	}
	var mu sync.Mutex
	g, both := errgroup.WithContext(ctx) // if one scan fails, the other stops
	for kind, after := range w.after {
		q := bus.Scan{Kind: kind, Subjects: []string{fmt.Sprintf("tb.%s.*.*.*.*.*", kind)}, After: after, Follow: true}
		g.Go(func() error {
			err := w.bus.Scan(both, q, func(m bus.Message) (err error) {
				mu.Lock()
				defer mu.Unlock()
				s := runOf(m.Subject)
				if open[s] == 0 {
					return nil
				}
				if kind == bus.Closed {
					if m, err = w.deadLetterBefore(both, m); err != nil {
						return err
					}
				}
				report(end(open[s], m))
				delete(open, s)
				if len(open) == 0 {
					cancel()
					return bus.ErrStopScan
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

// runOf returns what the subjects of all messages of one run have in common. The type is not part of it, as a delivery
// has none.
func runOf(s bus.Subject) bus.Subject {
	return bus.Subject{Company: s.Company, Request: s.Request, Run: s.Run}
}

// deadLetterBefore returns the dead letter of the run that m closed, or m if there is none. A run that fails permanently
// publishes its dead letter before it is closed as failed, but the two streams are read concurrently, so the close-out may
// be read first. It scans, and does not call Last, because a scan asks the leader before it finds nothing.
func (w *Watch) deadLetterBefore(ctx context.Context, m bus.Message) (bus.Message, error) {
	of := bus.Any(bus.Dead, m.Subject.Company, m.Subject.Request).WithRun(m.Subject.Run)
	err := w.bus.Scan(ctx, bus.Scan{Kind: bus.Dead, Subjects: []string{of.String()}, After: w.after[bus.Dead]}, func(dead bus.Message) error {
		m = dead
		return bus.ErrStopScan
	})
	return m, err
}

func end(id uint64, m bus.Message) End {
	e := End{ID: id, At: m.Stored}
	if m.Subject.Kind == bus.Dead {
		e.NewID, e.Dead = m.Sequence, request.ParseDeadLetter(m).DeadLetter
		return e
	}
	e.Closed = &tiebackv1.Outcome{}
	_ = proto.Unmarshal(m.Data, e.Closed) // a malformed message closed nothing
	return e
}
