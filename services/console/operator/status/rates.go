package status

import (
	"context"
	"errors"
	"slices"
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

// tail is what a Reader remembers of a stream's newest messages, so that each reading scans only those that are new. It has all
// messages that were stored at since or later, or the newest MaxRecent of them.
type tail struct {
	since    time.Time
	last     uint64          // the sequence up to which the stream was read
	messages []recentMessage // the oldest first
}

// recentMessage is what the rates and results need of a message.
type recentMessage struct {
	at       time.Time
	category catalogue.Category
	company  int64
	result   result // of a message of bus.Closed
}

type result int

const (
	noResult result = iota // also of a request that was not processed
	succeeded
	failed
)

// resultOf returns how a request ended according to a message of bus.Closed.
func resultOf(m bus.Message) result {
	switch r, ok := request.ParseReport(m); {
	case !ok || r.SkipReason != "":
		return noResult
	case r.Failed():
		return failed
	}
	return succeeded
}

func (v *Reading) readStream(ctx context.Context, k bus.Kind, s *written) error {
	t, first := v.tails[k], v.at.Add(-v.window)
	if err := v.follow(ctx, k, t, first); err != nil {
		return err
	}
	if t.since.After(first) {
		first = t.since
		v.addNote(0, "only the newest %d messages of %s were counted: its rates and results are those of %.1f s", v.MaxRecent, k.Stream(), v.at.Sub(first).Seconds())
	}
	s.known, s.span = true, max(v.at.Sub(first), time.Second)
	from, _ := slices.BinarySearchFunc(t.messages, first, func(m recentMessage, at time.Time) int { return m.at.Compare(at) })
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range t.messages[from:] {
		s.total++
		s.byCategory[m.category]++
		switch m.result {
		case succeeded:
			v.company(m.company).Succeeded++
		case failed:
			v.company(m.company).Failed++
		}
	}
	return nil
}

// follow reads what the stream has stored since the last reading. It reads again from the start of the window if the window is
// longer than before, or if the stream has lost messages.
func (v *Reading) follow(ctx context.Context, k bus.Kind, t *tail, since time.Time) error {
	last, err := v.bus.LastSequence(ctx, k)
	if err != nil {
		return err
	}
	scan, limited := bus.Scan{Kind: k, After: t.last}, false
	if t.since.IsZero() || last < t.last || since.Before(t.since) && len(t.messages) < v.MaxRecent {
		*t = tail{since: since}
		if scan, err = v.recent(ctx, k, last, since); err != nil {
			return err
		}
		limited = scan.After > 0 // the first message that is read says since when
	}
	if last == t.last {
		return nil
	}
	if err := v.bus.Scan(ctx, scan, func(m bus.Message) error {
		r := recentMessage{at: m.Stored, category: m.Subject.Category, company: m.Subject.Company}
		if k == bus.Closed {
			r.result = resultOf(m)
		}
		if limited && len(t.messages) == 0 {
			t.since = m.Stored
		}
		t.messages, t.last = append(t.messages, r), m.Sequence
		return nil
	}); err != nil {
		return err
	}
	t.last = max(t.last, last)
	if more := len(t.messages) - v.MaxRecent; more > 0 {
		t.messages = slices.Clone(t.messages[more:])
		t.since = t.messages[0].at
	}
	return nil
}

// recent returns a scan of a stream's messages since a time, at most the newest MaxRecent.
func (v *Reading) recent(ctx context.Context, k bus.Kind, last uint64, since time.Time) (bus.Scan, error) {
	scan := bus.Scan{Kind: k, Since: since}
	if last <= uint64(v.MaxRecent) { //nolint:gosec // a positive number
		return scan, nil
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
