package deadletters

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Tally counts the letters that nobody has dealt with, for whoever counts again and again: each Read
// goes on where the last one ended, so that 100,000 letters are read once and then cost nothing.
// A replay that was claimed and cut off counts as dealt with; List tells those apart. It needs
// no right but to read. The methods of a Tally must not be called concurrently.
type Tally struct {
	bus      *bus.Bus
	letters  page
	dealings page
	open     map[uint64]string   // cause by letter
	early    map[uint64]struct{} // dealings with letters that were not read yet
	gaps     []bus.Gap
}

// page is how far a stream was read.
type page struct {
	made time.Time // the stream; another one's sequences mean other messages
	next uint64
}

// NewTally makes a tally that has read nothing.
func NewTally(b *bus.Bus) *Tally { return &Tally{bus: b} }

// Read reads on to the end. After an error Open is as of no certain moment: read again first.
func (t *Tally) Read(ctx context.Context) error {
	letters, err := t.stream(ctx, bus.Dead)
	if err != nil {
		return err
	}
	dealings, err := t.stream(ctx, bus.Dealt)
	if err != nil {
		return err
	}
	if t.letters.lost(letters) || t.dealings.lost(dealings) {
		t.letters, t.dealings = page{made: letters.Created}, page{made: dealings.Created}
		t.gaps = nil
		t.open, t.early = map[uint64]string{}, map[uint64]struct{}{}
	}
	for id := range t.open {
		if id < letters.State.FirstSeq { // purged by hand
			delete(t.open, id)
		}
	}
	if err := t.read(ctx, bus.Dead, &t.letters, letters, t.letter); err != nil {
		return err
	}
	return t.read(ctx, bus.Dealt, &t.dealings, dealings, t.dealt)
}

// lost says whether the stream is not the one that was read, or has lost what was read.
func (p page) lost(now *jetstream.StreamInfo) bool {
	return p.made.IsZero() || !p.made.Equal(now.Created) || p.next > now.State.LastSeq+1
}

// answer is how long the broker has for one answer.
const answer = 5 * time.Second

func (t *Tally) stream(ctx context.Context, k bus.Kind) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	s, err := t.bus.JetStream().Stream(ctx, k.Stream())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.Stream(), err)
	}
	return s.CachedInfo(), nil
}

// atTheEnd is later than any message: the broker tells times as RFC 3339, whose years end before it.
var atTheEnd = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)

func (t *Tally) read(ctx context.Context, k bus.Kind, p *page, now *jetstream.StreamInfo, each func(bus.Message)) error {
	if p.next > now.State.LastSeq {
		return nil
	}
	expected := max(p.next, now.State.FirstSeq, 1)
	next, err := t.bus.Read(ctx, k, p.next, atTheEnd, func(m bus.Message) error {
		if m.Sequence > expected {
			t.gaps = append(t.gaps, bus.Gap{Kind: k, From: expected, To: m.Sequence - 1})
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

// Gaps are the letters and dealings that the stream should hold and that could not be read, since the streams were made. With replicas one
// that lags may have left some out.
func (t *Tally) Gaps() []bus.Gap { return slices.Clone(t.gaps) }

func (t *Tally) letter(m bus.Message) {
	if _, dealt := t.early[m.Sequence]; dealt {
		delete(t.early, m.Sequence)
		return
	}
	t.open[m.Sequence] = read(m.Sequence, m.Stored, m.Raw, m.Data).Cause()
}

func (t *Tally) dealt(m bus.Message) {
	deal := &tiebackv1.Dealing{}
	if proto.Unmarshal(m.Data, deal) != nil {
		return // nobody of ours wrote it
	}
	if deal.Letter >= t.letters.next { // it was written since, and is read next time
		t.early[deal.Letter] = struct{}{}
	}
	delete(t.open, deal.Letter)
}

// Open is how many letters of each cause nobody has dealt with. Every one of Causes has its number.
func (t *Tally) Open() map[string]int {
	n := make(map[string]int, len(Causes))
	for _, cause := range Causes {
		n[cause] = 0
	}
	for _, cause := range t.open {
		n[cause]++
	}
	return n
}
