package request

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Counter counts unresolved dead letters incrementally: each Read resumes where the last one stopped, so that 100,000 dead
// letters are read once. It counts those that DeadLetters lists. Its methods are not for concurrent use.
type Counter struct {
	Newest uint64 // at the first Read, skip all but this many of the newest dead letters; 0: skip none

	bus         *bus.Bus
	deadLetters position
	resolutions position
	open        map[uint64]Counted
	from        uint64                           // the lowest id that is counted
	replayed    map[uint64]replayed              // dead letters resolved by a replay whose message has not been seen yet
	early       map[uint64]*tiebackv1.Resolution // resolutions of dead letters that have not been read yet
	gaps        []bus.Gap
}

// Counted is an unresolved dead letter.
type Counted struct {
	Company int64 // 0: its subject is not one that services write
	Cause   string
}

// replayed is a dead letter resolved by a replay whose message has not been seen yet.
type replayed struct {
	Counted
	resolution *tiebackv1.Resolution
}

// position is how far a stream has been read.
type position struct {
	created time.Time // when the stream was created; a stream that is created anew starts its sequences anew
	next    uint64
}

// NewCounter returns a counter that has read nothing.
func NewCounter(b *bus.Bus) *Counter { return &Counter{bus: b} }

// Read reads the streams to their current end. After an error, the counts are inconsistent until a Read succeeds.
func (c *Counter) Read(ctx context.Context) error {
	deadLetters, err := streamInfo(ctx, c.bus, bus.Dead)
	if err != nil {
		return err
	}
	resolutions, err := streamInfo(ctx, c.bus, bus.Resolution)
	if err != nil {
		return err
	}
	if c.deadLetters.lost(deadLetters) || c.resolutions.lost(resolutions) {
		c.deadLetters, c.resolutions = position{created: deadLetters.Created}, position{created: resolutions.Created}
		if last := deadLetters.State.LastSeq; c.Newest > 0 && last > c.Newest {
			c.deadLetters.next = last - c.Newest + 1
		}
		c.from, c.gaps = c.deadLetters.next, nil
		c.open, c.replayed, c.early = map[uint64]Counted{}, map[uint64]replayed{}, map[uint64]*tiebackv1.Resolution{}
	}
	first := deadLetters.State.FirstSeq // all before it have been purged manually
	maps.DeleteFunc(c.open, func(id uint64, _ Counted) bool { return id < first })
	maps.DeleteFunc(c.replayed, func(id uint64, _ replayed) bool { return id < first })
	if err := c.read(ctx, bus.Dead, &c.deadLetters, deadLetters, c.addDeadLetter); err != nil {
		return err
	}
	if err := c.read(ctx, bus.Resolution, &c.resolutions, resolutions, c.addResolution); err != nil {
		return err
	}
	return c.checkReplays(ctx)
}

// Partial reports whether Newest excludes older dead letters.
func (c *Counter) Partial() bool { return c.from > 1 }

// lost reports whether the stream was created anew, or has lost messages that were read.
func (p position) lost(now *jetstream.StreamInfo) bool {
	return p.created.IsZero() || !p.created.Equal(now.Created) || p.next > now.State.LastSeq+1
}

func streamInfo(ctx context.Context, b *bus.Bus, k bus.Kind) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	s, err := b.JetStream().Stream(ctx, k.Stream())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.Stream(), err)
	}
	return s.CachedInfo(), nil
}

// endOfTime is later than any message: the broker formats times as RFC 3339, which has four-digit years.
var endOfTime = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *Counter) read(ctx context.Context, k bus.Kind, p *position, now *jetstream.StreamInfo, each func(bus.Message)) error {
	if p.next > now.State.LastSeq {
		return nil
	}
	expected := max(p.next, now.State.FirstSeq, 1)
	next, err := c.bus.Read(ctx, k, p.next, endOfTime, func(m bus.Message) error {
		if m.Sequence > expected {
			c.gaps = append(c.gaps, bus.Gap{Kind: k, From: expected, To: m.Sequence - 1})
		}
		expected = m.Sequence + 1
		each(m)
		return nil
	})
	p.next = next
	if err != nil {
		return fmt.Errorf("%s: %w", k.Stream(), err)
	}
	return nil
}

// Gaps returns the sequences of dead letters and resolutions that the streams should have, but do not. A lagging replica may
// cause a gap.
func (c *Counter) Gaps() []bus.Gap { return slices.Clone(c.gaps) }

func (c *Counter) addDeadLetter(m bus.Message) {
	d := Counted{Company: m.Subject.Company, Cause: ParseDeadLetter(m).Cause()}
	if r := c.early[m.Sequence]; r != nil {
		delete(c.early, m.Sequence)
		c.resolve(m.Sequence, d, r)
		return
	}
	c.open[m.Sequence] = d
}

func (c *Counter) addResolution(m bus.Message) {
	r := &tiebackv1.Resolution{}
	if proto.Unmarshal(m.Data, r) != nil {
		return // not written by a service
	}
	if r.DeadLetter >= c.deadLetters.next { // its dead letter is read next time
		c.early[r.DeadLetter] = r
		return
	}
	d, open := c.open[r.DeadLetter]
	if !open {
		d = c.replayed[r.DeadLetter].Counted // zero if the dead letter was not counted; checkReplays reads it if necessary
	}
	c.resolve(r.DeadLetter, d, r)
}

func (c *Counter) resolve(id uint64, d Counted, r *tiebackv1.Resolution) {
	delete(c.open, id)
	delete(c.replayed, id)
	if r.Action != tiebackv1.Action_ACTION_DISCARDED && id >= c.from {
		c.replayed[id] = replayed{Counted: d, resolution: r}
	}
}

// checkReplays removes the dead letters whose replay was published.
func (c *Counter) checkReplays(ctx context.Context) error {
	if len(c.replayed) == 0 {
		return nil
	}
	retention, err := c.bus.Retention(ctx, bus.Event)
	if err != nil {
		return err
	}
	var open []bus.Subject
	now := time.Now()
	for id, r := range c.replayed {
		s, checkable := replayOf(r.resolution, now, retention)
		if !checkable {
			delete(c.replayed, id)
			continue
		}
		open = append(open, s)
	}
	missing, err := unpublished(ctx, c.bus, "*.*", open)
	if err != nil {
		return err
	}
	for id, r := range c.replayed {
		s, _ := bus.Parse(r.resolution.Subject)
		if !missing[s] {
			delete(c.replayed, id)
			continue
		}
		if r.Cause == "" {
			d, err := WrittenDeadLetter(ctx, c.bus, id)
			if errors.Is(err, ErrNoDeadLetter) {
				delete(c.replayed, id)
				continue
			}
			if err != nil {
				return err
			}
			r.Counted = Counted{Company: d.CompanyId, Cause: d.Cause()}
		}
		c.replayed[id] = r
	}
	return nil
}

// Open returns the unresolved dead letters, by id.
func (c *Counter) Open() map[uint64]Counted {
	all := maps.Clone(c.open)
	for id, r := range c.replayed {
		all[id] = r.Counted
	}
	return all
}

// ByCause returns the number of unresolved dead letters by cause. All Causes are keys.
func (c *Counter) ByCause() map[string]int {
	n := make(map[string]int, len(Causes))
	for _, cause := range Causes {
		n[cause] = 0
	}
	for _, d := range c.Open() {
		n[d.Cause]++
	}
	return n
}
