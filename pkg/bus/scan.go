package bus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"golang.org/x/sync/errgroup"
)

// Scan says which messages of a kind's stream to read, in the order of the stream. It is for commands and
// reports, which read much at once; Read is for a service that reads on from where it was.
type Scan struct {
	Kind     Kind
	Subjects []string  // filters that do not overlap; none: the whole stream
	Since    time.Time // stored since then; zero: from the start
	After    uint64    // only higher sequences; used without Since
	Follow   bool      // read on as messages are written, until ctx ends or each returns ErrSeen

	// Gap is called with each run of sequences that the stream should hold and that can't be read: they were deleted, or are
	// damaged, or a replica lags behind; Losses tells these apart. It is used only without Subjects, Since and Follow. nil: gaps
	// are passed over.
	Gap func(Gap)
}

// ErrSeen ends a scan, without an error.
var ErrStopScan = errors.New("seen enough")

const (
	// scanPatience is how long the broker is asked for the same batch: an election or a restart passes.
	scanTimeout = 15 * time.Second
	// followEvery is the time between two looks for new messages.
	followEvery = 250 * time.Millisecond
)

// Scan calls each for every message, up to the one that was the last when the scan began. It reads by
// direct gets, in batches. An error of each ends the scan, and so does a broker that does not answer
// for scanPatience. What each was called with by then was right; the scan may be repeated.
func (b *Bus) Scan(ctx context.Context, s Scan, each func(Message) error) error {
	if err := b.scan(ctx, s, each); !errors.Is(err, ErrStopScan) {
		return wrap(s.Kind.Stream(), err)
	}
	return nil
}

func (b *Bus) scan(ctx context.Context, s Scan, each func(Message) error) error {
	info, err := b.info(ctx, s.Kind)
	if err != nil {
		return err
	}
	r := newScanner(b, s, info)
	if err := r.prime(ctx); err != nil {
		return err
	}
	next := max(s.After+1, info.State.FirstSeq) // what comes if there is no gap
	for {
		m, err := r.next(ctx)
		switch {
		case err != nil:
			return err
		case s.Gap != nil && len(s.Subjects) == 0 && s.Since.IsZero() && !s.Follow:
			if next, err = r.gap(ctx, s.Gap, next, m); err != nil {
				return err
			}
		}
		switch {
		case m != nil:
			if err := each(stored(s.Kind, m)); err != nil {
				return err
			}
			continue
		case !s.Follow:
			return nil
		}
		r.last = math.MaxUint64
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followEvery):
		}
	}
}

// scanner merges what is read for each filter into the order of the stream.
type scanner struct {
	bus     *Bus
	kind    Kind
	last    uint64 // the highest sequence to read
	leader  bool   // the end is confirmed by the stream's leader: a replica may lag behind it
	filters []*filtered
}

// filtered are the messages of one filter.
type filtered struct {
	subject string // "": all
	from    uint64 // the lowest sequence that was not read yet
	since   time.Time
	read    []*jetstream.RawStreamMsg // and not handed over yet
}

func newScanner(b *Bus, s Scan, info *jetstream.StreamInfo) *scanner {
	r := &scanner{bus: b, kind: s.Kind, last: info.State.LastSeq, leader: info.Config.Replicas > 1}
	subjects := s.Subjects
	if len(subjects) == 0 {
		subjects = []string{""}
	}
	for _, subject := range subjects {
		r.filters = append(r.filters, &filtered{subject: subject, from: s.After + 1, since: s.Since})
	}
	return r
}

// prime reads the first batch of each filter, several at once: a report may have a hundred filters.
func (r *scanner) prime(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(16)
	for _, f := range r.filters {
		all.Go(func() error { return r.fill(ctx, f) })
	}
	return all.Wait()
}

// next gives the next message; nil: there is none up to last.
func (r *scanner) next(ctx context.Context) (*jetstream.RawStreamMsg, error) {
	var first *filtered
	for _, f := range r.filters {
		if len(f.read) == 0 && f.from <= r.last {
			if err := r.fill(ctx, f); err != nil {
				return nil, err
			}
		}
		if len(f.read) > 0 && (first == nil || f.read[0].Sequence < first.read[0].Sequence) {
			first = f
		}
	}
	if first == nil || first.read[0].Sequence > r.last {
		return nil, nil
	}
	m := first.read[0]
	first.read = first.read[1:]
	return m, nil
}

// gap reports the sequences from next on that are missing before m, or before the end where m is nil. It returns the sequence after m.
func (r *scanner) gap(ctx context.Context, report func(Gap), next uint64, m *jetstream.RawStreamMsg) (uint64, error) {
	to := r.last
	if m != nil {
		to = m.Sequence - 1
	}
	after := to + 2
	if to < next {
		return after, nil
	}
	now, err := r.bus.info(ctx, r.kind)
	if err != nil {
		return 0, err
	}
	if now.Config.MaxAge > 0 { // it may have lost them by their age meanwhile
		next = max(next, now.State.FirstSeq)
	}
	if next <= to {
		report(Gap{Kind: r.kind, From: next, To: to})
	}
	return after, nil
}

// fill reads the next batch of a filter. At the end of the stream it leaves read empty, and from behind
// last unless new messages are followed.
func (r *scanner) fill(ctx context.Context, f *filtered) (err error) {
	for began := time.Now(); ; {
		f.read, err = r.batch(ctx, f, batchRead)
		if err == nil || ctx.Err() != nil || time.Since(began) > scanTimeout {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPublish):
		}
	}
	switch {
	case err != nil:
		return err
	case len(f.read) > 0:
		f.from, f.since = f.read[len(f.read)-1].Sequence+1, time.Time{}
	case r.last < math.MaxUint64:
		f.from = r.last + 1
	}
	return nil
}

func (r *scanner) batch(ctx context.Context, f *filtered, n int) ([]*jetstream.RawStreamMsg, error) {
	opts := []jetstreamext.GetBatchOpt{jetstreamext.GetBatchSeq(f.from)}
	if !f.since.IsZero() {
		opts[0] = jetstreamext.GetBatchStartTime(f.since)
	}
	if f.subject != "" {
		opts = append(opts, jetstreamext.GetBatchSubject(f.subject))
	}
	some, err := r.bus.batch(ctx, r.kind, n, opts...)
	if err != nil || len(some) > 0 || !r.leader || r.last == math.MaxUint64 || !f.since.IsZero() {
		return some, err
	}
	m, err := r.bus.leaderGet(ctx, r.kind.Stream(), f.from, f.subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("from its leader: %w", err)
	}
	return []*jetstream.RawStreamMsg{m}, nil
}

func infoOf(ctx context.Context, c jetstream.Consumer) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	return c.Info(ctx)
}
