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

// written is the number of messages that a stream has stored within the window.
type written struct {
	known      bool
	span       time.Duration // over which they were counted; shorter than the window if the stream has more than MaxRecent
	total      int
	byCategory map[catalogue.Category]int
}

// perMinute returns the rate of n messages; nil if the stream did not answer.
func (s *written) perMinute(n int) *float64 {
	if !s.known {
		return nil
	}
	rate := float64(n) / s.span.Minutes()
	return &rate
}

// readStreams starts to count the recent messages of the streams. The counts are complete when all is done.
func (v *Reading) readStreams(ctx context.Context, all *sync.WaitGroup) map[bus.Kind]*written {
	out := map[bus.Kind]*written{}
	for _, k := range []bus.Kind{bus.Delivery, bus.Event, bus.Outcome, bus.Closed} {
		s := &written{byCategory: map[catalogue.Category]int{}}
		out[k] = s
		all.Go(func() {
			if err := v.readStream(ctx, k, s); err != nil {
				v.addUnread("the recent messages of "+k.Stream(), err)
			}
		})
	}
	return out
}

func (v *Reading) readStream(ctx context.Context, k bus.Kind, s *written) error {
	scan, err := v.recent(ctx, k)
	if err != nil {
		return err
	}
	first := v.at.Add(-v.window)
	err = v.bus.Scan(ctx, scan, func(m bus.Message) error {
		if s.total == 0 && scan.After > 0 {
			first = m.Stored
			v.addNote(0, "only the newest %d messages of %s were counted: its rates and results are those of %.1f s", v.MaxRecent, k.Stream(), v.at.Sub(first).Seconds())
		}
		s.total++
		s.byCategory[m.Subject.Category]++
		if k == bus.Closed {
			v.addReport(m)
		}
		return nil
	})
	s.known, s.span = err == nil, max(v.at.Sub(first), time.Second)
	return err
}

// recent returns a scan of a stream's messages within the window, at most the newest MaxRecent.
func (v *Reading) recent(ctx context.Context, k bus.Kind) (bus.Scan, error) {
	scan := bus.Scan{Kind: k, Since: v.at.Add(-v.window)}
	last, err := v.bus.LastSequence(ctx, k)
	if err != nil || last <= uint64(v.MaxRecent) { //nolint:gosec // a positive number
		return scan, err
	}
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	s, err := v.bus.JetStream().Stream(ctx, k.Stream())
	if err != nil {
		return scan, err
	}
	from := last - uint64(v.MaxRecent) //nolint:gosec // likewise
	m, err := s.GetMsg(ctx, from)
	if errors.Is(err, jetstream.ErrMsgNotFound) { // it has expired, so fewer are left
		return scan, nil
	}
	if err == nil && m.Time.After(scan.Since) {
		scan.Since, scan.After = time.Time{}, from
	}
	return scan, err
}

// addReport counts how an event ended. A request that was not processed has neither succeeded nor failed.
func (v *Reading) addReport(m bus.Message) {
	r, ok := request.ParseReport(m)
	if !ok || r.SkipReason != "" {
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

// setRates sets the rates of each queue: what its stream stores, and what its stage writes. The fetcher writes an outcome
// for an event that it could not fetch.
func setRates(queues []*queue, streams map[bus.Kind]*written) {
	deliveries, events, outcomes, closed := streams[bus.Delivery], streams[bus.Event], streams[bus.Outcome], streams[bus.Closed]
	for _, q := range queues {
		switch q.Kind {
		case bus.Delivery:
			q.report.ArrivedPerMinute, q.report.FinishedPerMinute = deliveries.perMinute(deliveries.total), sum(events.perMinute(events.total), outcomes.perMinute(outcomes.byCategory[catalogue.Unknown]))
		case bus.Event:
			c := catalogue.Category(q.Name)
			q.report.ArrivedPerMinute, q.report.FinishedPerMinute = events.perMinute(events.byCategory[c]), outcomes.perMinute(outcomes.byCategory[c])
		default:
			q.report.ArrivedPerMinute, q.report.FinishedPerMinute = outcomes.perMinute(outcomes.total), closed.perMinute(closed.total)
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
