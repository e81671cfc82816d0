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

// Counter counts unresolved dead letters incrementally: each Read resumes where the last one stopped. It counts the dead
// letters that DeadLetters lists with the zero Filter. It is not safe for concurrent use.
type Counter struct {
	Limit uint64 // the first Read counts only this many of the newest dead letters; 0: all

	bus         *bus.Bus
	deadLetters cursor
	resolutions cursor
	open        map[uint64]CountedDeadLetter
	from        uint64                           // the lowest id that is counted
	unconfirmed map[uint64]unconfirmed           // replayed dead letters, until the replay's message is found
	unmatched   map[uint64]*tiebackv1.Resolution // resolutions of dead letters that have not been read yet
	gaps        []bus.Gap
}

// CountedDeadLetter is an unresolved dead letter.
type CountedDeadLetter struct {
	Company int64  // 0: its subject is not one that services write
	Cause   string // one of Causes
}

// unconfirmed is a replayed dead letter. It is unresolved until the replay's message is found.
type unconfirmed struct {
	CountedDeadLetter
	replay *tiebackv1.Resolution
}

// cursor is how far a stream has been read.
type cursor struct {
	created time.Time // when the stream was created, because the sequences of a new stream start at 1 again
	next    uint64    // the first sequence that has not been read
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
		c.deadLetters, c.resolutions = cursor{created: deadLetters.Created}, cursor{created: resolutions.Created}
		if last := deadLetters.State.LastSeq; c.Limit > 0 && last > c.Limit {
			c.deadLetters.next = last - c.Limit + 1
		}
		c.from, c.gaps = c.deadLetters.next, nil
		c.open, c.unconfirmed, c.unmatched = map[uint64]CountedDeadLetter{}, map[uint64]unconfirmed{}, map[uint64]*tiebackv1.Resolution{}
	}
	first := deadLetters.State.FirstSeq // an operator may have purged older ones
	maps.DeleteFunc(c.open, func(id uint64, _ CountedDeadLetter) bool { return id < first })
	maps.DeleteFunc(c.unconfirmed, func(id uint64, _ unconfirmed) bool { return id < first })
	if err := c.read(ctx, bus.Dead, &c.deadLetters, deadLetters, c.addDeadLetter); err != nil {
		return err
	}
	if err := c.read(ctx, bus.Resolution, &c.resolutions, resolutions, c.addResolution); err != nil {
		return err
	}
	return c.checkReplays(ctx)
}

// Partial reports whether Limit excludes older dead letters.
func (c *Counter) Partial() bool { return c.from > 1 }

// lost reports whether the stream was replaced by a new one, or has lost messages that were read.
func (p cursor) lost(now *jetstream.StreamInfo) bool {
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

// endOfTime is later than the time of any message: the broker formats times as RFC 3339, whose last year is 9999.
var endOfTime = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *Counter) read(ctx context.Context, k bus.Kind, p *cursor, now *jetstream.StreamInfo, visit func(bus.Message)) error {
	if p.next > now.State.LastSeq {
		return nil
	}
	expected := max(p.next, now.State.FirstSeq, 1)
	next, err := c.bus.Read(ctx, k, p.next, endOfTime, func(m bus.Message) error {
		if m.Sequence > expected {
			c.gaps = append(c.gaps, bus.Gap{Kind: k, From: expected, To: m.Sequence - 1})
		}
		expected = m.Sequence + 1
		visit(m)
		return nil
	})
	p.next = next
	if err != nil {
		return fmt.Errorf("%s: %w", k.Stream(), err)
	}
	return nil
}

// Gaps returns the sequences of dead letters and resolutions that were missing when the streams were read, because the streams
// have lost them or a lagging replica answered.
func (c *Counter) Gaps() []bus.Gap { return slices.Clone(c.gaps) }

func (c *Counter) addDeadLetter(m bus.Message) {
	d := CountedDeadLetter{Company: m.Subject.Company, Cause: ParseDeadLetter(m).Cause()}
	if r := c.unmatched[m.Sequence]; r != nil {
		delete(c.unmatched, m.Sequence)
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
		c.unmatched[r.DeadLetter] = r
		return
	}
	d, open := c.open[r.DeadLetter]
	if !open {
		// zero if it is in neither map, for example because an earlier replay was confirmed; checkReplays then reads it if it is
		// needed
		d = c.unconfirmed[r.DeadLetter].CountedDeadLetter
	}
	c.resolve(r.DeadLetter, d, r)
}

func (c *Counter) resolve(id uint64, d CountedDeadLetter, r *tiebackv1.Resolution) {
	delete(c.open, id)
	delete(c.unconfirmed, id)
	if r.Action != tiebackv1.Action_ACTION_DISCARDED && id >= c.from {
		c.unconfirmed[id] = unconfirmed{CountedDeadLetter: d, replay: r}
	}
}

// checkReplays removes from unconfirmed the dead letters whose replay was published, or is too old to check, because the stream
// may have dropped its message.
func (c *Counter) checkReplays(ctx context.Context) error {
	if len(c.unconfirmed) == 0 {
		return nil
	}
	var replays []*tiebackv1.Resolution
	for _, r := range c.unconfirmed {
		replays = append(replays, r.replay)
	}
	interrupted, err := interruptedReplays(ctx, c.bus, "*.*", replays)
	if err != nil {
		return err
	}
	for id, r := range c.unconfirmed {
		if !interrupted[r.replay] {
			delete(c.unconfirmed, id)
			continue
		}
		if r.Cause == "" {
			d, err := ReadWithoutResolutions(ctx, c.bus, id)
			if errors.Is(err, ErrNoDeadLetter) {
				delete(c.unconfirmed, id)
				continue
			}
			if err != nil {
				return err
			}
			r.CountedDeadLetter = CountedDeadLetter{Company: d.CompanyId, Cause: d.Cause()}
		}
		c.unconfirmed[id] = r
	}
	return nil
}

// Open returns the unresolved dead letters, by id.
func (c *Counter) Open() map[uint64]CountedDeadLetter {
	all := maps.Clone(c.open)
	for id, r := range c.unconfirmed {
		all[id] = r.CountedDeadLetter
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
