package status

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/request"
)

// recent is what was written into a stream lately.
type recent struct {
	known bool
	span  time.Duration // that it was counted over
	all   int
	of    map[catalogue.Category]int
}

// perMinute of a count; nil where the stream did not answer.
func (r *recent) perMinute(n int) *float64 {
	if !r.known {
		return nil
	}
	rate := float64(n) / r.span.Minutes()
	return &rate
}

// recents reads what the pipeline's streams took in lately. Of what was told, it reads the bodies.
func (v *look) recents(ctx context.Context, all *sync.WaitGroup) map[bus.Kind]*recent {
	out := map[bus.Kind]*recent{}
	for _, k := range []bus.Kind{bus.Delivery, bus.Event, bus.Outcome, bus.Closed} {
		r := &recent{of: map[catalogue.Category]int{}}
		out[k] = r
		all.Go(func() {
			if err := v.recent(ctx, k, r); err != nil {
				v.unasked("what came into "+k.Stream(), err)
			}
		})
	}
	return out
}

func (v *look) recent(ctx context.Context, k bus.Kind, r *recent) error {
	scan, err := v.newest(ctx, k)
	if err != nil {
		return err
	}
	first := v.at.Add(-v.Window)
	err = v.bus.Scan(ctx, scan, func(m bus.Message) error {
		if r.all == 0 && scan.After > 0 {
			first = m.Stored
			v.note("of %s only the newest %d of the last %v were counted: rates and ends there are of %.1f s", k.Stream(), v.Recent, v.Window, v.at.Sub(first).Seconds())
		}
		r.all++
		r.of[m.Subject.Category]++
		if k == bus.Closed {
			v.told(m)
		}
		return nil
	})
	r.known, r.span = err == nil, max(v.at.Sub(first), time.Second)
	return err
}

// newest is the reading of a stream's last window, or of its newest messages where those are fewer.
func (v *look) newest(ctx context.Context, k bus.Kind) (bus.Scan, error) {
	scan := bus.Scan{Kind: k, Since: v.at.Add(-v.Window)}
	last, err := v.bus.LastSequence(ctx, k)
	if err != nil || last <= uint64(v.Recent) { //nolint:gosec // a positive number
		return scan, err
	}
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	s, err := v.bus.JetStream().Stream(ctx, k.Stream())
	if err != nil {
		return scan, err
	}
	from := last - uint64(v.Recent) //nolint:gosec // likewise
	m, err := s.GetMsg(ctx, from)
	if errors.Is(err, jetstream.ErrMsgNotFound) { // deleted by its age: what is newer is less
		return scan, nil
	}
	if err == nil && m.Time.After(scan.Since) {
		scan.Since, scan.After = time.Time{}, from
	}
	return scan, err
}

// told counts how an event ended; one that was left alone did neither well nor badly.
func (v *look) told(m bus.Message) {
	r, ok := request.ParseReport(m)
	if !ok || r.Left != "" {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.company(m.Subject.Company); r.Failed() {
		c.Failed++
	} else {
		c.Succeeded++
	}
}

// rates fills in what comes in and goes out of each queue: what is written into the stream that a stop
// reads, and what it writes, which is an outcome also for what could not be fetched.
func (v *look) rates(queues []*queue, streams map[bus.Kind]*recent) {
	deliveries, events, outcomes, closed := streams[bus.Delivery], streams[bus.Event], streams[bus.Outcome], streams[bus.Closed]
	for _, q := range queues {
		switch q.Kind {
		case bus.Delivery:
			q.Report.In, q.Report.Finished = deliveries.perMinute(deliveries.all), sum(events.perMinute(events.all), outcomes.perMinute(outcomes.of[catalogue.Unknown]))
		case bus.Event:
			c := catalogue.Category(q.Name)
			q.Report.In, q.Report.Finished = events.perMinute(events.of[c]), outcomes.perMinute(outcomes.of[c])
		default:
			q.Report.In, q.Report.Finished = outcomes.perMinute(outcomes.all), closed.perMinute(closed.all)
		}
	}
}

func sum(a, b *float64) *float64 {
	if a == nil || b == nil {
		return nil
	}
	s := *a + *b
	return &s
}
