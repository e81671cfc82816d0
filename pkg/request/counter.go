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

// Counter counts the dead letters that need a person, as DeadLetters lists them. Each Read resumes where the last one
// stopped, so that 100,000 dead letters are read once and then cost nothing. It needs no right but to read. Its methods
// are not for concurrent use.
type Counter struct {
	Newest uint64 // count only so many dead letters, the newest when the first Read began; 0: all

	bus         *bus.Bus
	letters     page
	resolutions page
	open        map[uint64]Counted
	from        uint64                           // the first dead letter that is counted
	replayed    map[uint64]replayed              // replays without a message
	early       map[uint64]*tiebackv1.Resolution // resolutions of dead letters that were not read yet
	gaps        []bus.Gap
}

// Counted is a dead letter that needs a person.
type Counted struct {
	Company int64 // 0: on a subject that no service of ours writes
	Cause   string
}

// replayed is a dead letter with a replay as its newest resolution.
type replayed struct {
	Counted
	resolution *tiebackv1.Resolution
}

// page is how far a stream was read.
type page struct {
	made time.Time // the stream; another one's sequences mean other messages
	next uint64
}

// NewCounter returns a counter that has read nothing.
func NewCounter(b *bus.Bus) *Counter { return &Counter{bus: b} }

// Read reads to the present end. After an error Open is as of no certain moment: read again first.
func (c *Counter) Read(ctx context.Context) error {
	letters, err := streamInfo(ctx, c.bus, bus.Dead)
	if err != nil {
		return err
	}
	resolutions, err := streamInfo(ctx, c.bus, bus.Resolution)
	if err != nil {
		return err
	}
	if c.letters.lost(letters) || c.resolutions.lost(resolutions) {
		c.letters, c.resolutions = page{made: letters.Created}, page{made: resolutions.Created}
		if last := letters.State.LastSeq; c.Newest > 0 && last > c.Newest {
			c.letters.next = last - c.Newest + 1
		}
		c.from, c.gaps = c.letters.next, nil
		c.open, c.replayed, c.early = map[uint64]Counted{}, map[uint64]replayed{}, map[uint64]*tiebackv1.Resolution{}
	}
	purged := letters.State.FirstSeq // by hand: all before it
	maps.DeleteFunc(c.open, func(id uint64, _ Counted) bool { return id < purged })
	maps.DeleteFunc(c.replayed, func(id uint64, _ replayed) bool { return id < purged })
	if err := c.read(ctx, bus.Dead, &c.letters, letters, c.letter); err != nil {
		return err
	}
	if err := c.read(ctx, bus.Resolution, &c.resolutions, resolutions, c.resolution); err != nil {
		return err
	}
	return c.verify(ctx)
}

// Partial reports whether there are dead letters older than the Newest that were counted.
func (c *Counter) Partial() bool { return c.from > 1 }

// lost reports whether the stream is not the one that was read, or has lost what was read.
func (p page) lost(now *jetstream.StreamInfo) bool {
	return p.made.IsZero() || !p.made.Equal(now.Created) || p.next > now.State.LastSeq+1
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

// atTheEnd is later than any message: the broker tells times as RFC 3339, whose years end before it.
var atTheEnd = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *Counter) read(ctx context.Context, k bus.Kind, p *page, now *jetstream.StreamInfo, each func(bus.Message)) error {
	if p.next > now.State.LastSeq {
		return nil
	}
	expected := max(p.next, now.State.FirstSeq, 1)
	next, err := c.bus.Read(ctx, k, p.next, atTheEnd, func(m bus.Message) error {
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

// Gaps returns the dead letters and resolutions that the streams should hold and that could not be read, since the
// streams were made. With replicas, one that lags may have left some out.
func (c *Counter) Gaps() []bus.Gap { return slices.Clone(c.gaps) }

func (c *Counter) letter(m bus.Message) {
	d := Counted{Company: m.Subject.Company, Cause: ParseDeadLetter(m).Cause()}
	if r := c.early[m.Sequence]; r != nil {
		delete(c.early, m.Sequence)
		c.resolve(m.Sequence, d, r)
		return
	}
	c.open[m.Sequence] = d
}

func (c *Counter) resolution(m bus.Message) {
	r := &tiebackv1.Resolution{}
	if proto.Unmarshal(m.Data, r) != nil {
		return // no service of ours wrote it
	}
	if r.DeadLetter >= c.letters.next { // written since, and read next time
		c.early[r.DeadLetter] = r
		return
	}
	d, open := c.open[r.DeadLetter]
	if !open {
		d = c.replayed[r.DeadLetter].Counted // its cause is looked up if it is needed, where this is zero
	}
	c.resolve(r.DeadLetter, d, r)
}

func (c *Counter) resolve(letter uint64, d Counted, r *tiebackv1.Resolution) {
	delete(c.open, letter)
	delete(c.replayed, letter)
	if r.Action != tiebackv1.Action_ACTION_DISCARDED && letter >= c.from {
		c.replayed[letter] = replayed{Counted: d, resolution: r}
	}
}

// verify forgets the replays that were published.
func (c *Counter) verify(ctx context.Context) error {
	if len(c.replayed) == 0 {
		return nil
	}
	kept, err := c.bus.Retention(ctx, bus.Event)
	if err != nil {
		return err
	}
	var open []bus.Subject
	now := time.Now()
	for id, r := range c.replayed {
		s, checkable := replayOf(r.resolution, now, kept)
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

// Open returns the dead letters that need a person, by id.
func (c *Counter) Open() map[uint64]Counted {
	all := maps.Clone(c.open)
	for id, r := range c.replayed {
		all[id] = r.Counted
	}
	return all
}

// ByCause returns how many dead letters of each cause need a person. Each one of Causes has its number.
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
