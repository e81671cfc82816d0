package deadletters

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
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
		stream, err := d.Bus.JetStream().Stream(ctx, k.Stream())
		if err != nil {
			return nil, err
		}
		w.after[k] = stream.CachedInfo().State.LastSeq
	}
	return w, nil
}

// Wait tells how each replay ended, as it ends, one after the other; it returns when all have, or
// with ctx's error.
func (w *Watch) Wait(ctx context.Context, replays []*tiebackv1.Dealing, tell func(End)) error {
	if len(replays) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	open := map[bus.Subject]uint64{}
	for _, r := range replays {
		if s, err := bus.Parse(r.Subject); err == nil {
			open[whose(s)] = r.Letter
		}
	}
	var mu sync.Mutex
	var g errgroup.Group
	for kind, after := range w.after {
		q := scan{kind: kind, subjects: runs(kind, "*.*"), after: after, follow: true}
		g.Go(func() error {
			err := w.desk.scan(ctx, q, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
				mu.Lock()
				defer mu.Unlock()
				if s, err := bus.Parse(m.Subject()); err == nil && open[whose(s)] != 0 {
					tell(end(open[whose(s)], kind, m, meta))
					delete(open, whose(s))
				}
				if len(open) == 0 {
					cancel()
					return errStop
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

func end(letter uint64, kind bus.Kind, m jetstream.Msg, meta *jetstream.MsgMetadata) End {
	e := End{Letter: letter, At: meta.Timestamp}
	if kind == bus.Dead {
		e.Again, e.Dead = meta.Sequence.Stream, read(meta.Sequence.Stream, meta.Timestamp, m.Subject(), m.Data()).DeadLetter
		return e
	}
	e.Closed = &tiebackv1.Outcome{}
	_ = proto.Unmarshal(m.Data(), e.Closed) // what does not parse closed nothing
	return e
}
