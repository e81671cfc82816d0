package bus

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// Remover removes messages whose retention has ended. The broker does not do this: it would delete an unfinished message too, for
// example when it starts after an outage of weeks. Remover removes the oldest messages of a stream, up to the first message for
// which one of these is false:
//
//	all kinds   it was stored longer ago than the retention
//	delivery    the fetcher has finished it
//	event       the workers have finished it, and the status-reporter has finished its outcome
//	outcome     the status-reporter has finished it, and its event has been removed
//	closed      the delivery, event and outcome of the same run have been removed
//
// A message that is finished, but follows an unfinished one, is therefore kept too. So the streams show of each message that they
// have whether it was processed, also to a consumer that was lost. A consumer gives up a message that is throttled for longer than
// the retention of its stream; see Consumer.
//
// A Remover is not safe for concurrent use. Several processes may each have one.
type Remover struct {
	bus *Bus
	// The events up to seen.event were finished when the last outcome was seen.outcome. So their outcomes are finished when the
	// outcomes up to seen.outcome are. The outcomes of the events up to settled are finished.
	seen    struct{ event, outcome uint64 }
	settled uint64
}

// NewRemover returns a Remover. Its first call of Remove removes no events.
func (b *Bus) NewRemover() *Remover { return &Remover{bus: b} }

// removable are the kinds whose messages are removed, in the order of the pipeline.
var removable = []Kind{Delivery, Event, Outcome, Closed}

// Remove removes messages whose retention has ended, and returns their number by kind. After an error, some may have been removed.
func (r *Remover) Remove(ctx context.Context) (map[Kind]uint64, error) {
	finished, err := r.finished(ctx)
	if err != nil {
		return nil, err
	}
	removed := map[Kind]uint64{}
	oldest := map[Kind]time.Time{} // when the oldest message that is kept was stored
	for _, k := range removable {
		var after []Kind // the kinds whose messages need those of k
		switch k {
		case Outcome:
			after = []Kind{Event}
		case Closed:
			after = []Kind{Delivery, Event, Outcome}
		}
		var kept []time.Time
		for _, before := range after {
			if t := oldest[before]; !t.IsZero() {
				kept = append(kept, t)
			}
		}
		n, first, err := r.removeFrom(ctx, k, finished[k], kept)
		if err != nil {
			return removed, fmt.Errorf("removing old messages of %s: %w", k.Stream(), err)
		}
		removed[k], oldest[k] = n, first
	}
	return removed, nil
}

// finished returns, by kind, the sequence up to which all messages are finished.
func (r *Remover) finished(ctx context.Context) (map[Kind]uint64, error) {
	lastEvent, err := r.bus.LastSequence(ctx, Event) // before AckFloor, which returns math.MaxUint64 for finished consumers
	if err != nil {
		return nil, err
	}
	floor := map[Kind]uint64{Closed: math.MaxUint64}
	for _, k := range []Kind{Delivery, Event, Outcome} {
		var names []string
		for _, d := range topology.Durables() {
			if d.Kind == k {
				names = append(names, d.Name)
			}
		}
		if floor[k], err = r.bus.AckFloor(ctx, k, names...); err != nil {
			return nil, err
		}
	}
	if floor[Outcome] >= r.seen.outcome {
		r.settled, r.seen.event = r.seen.event, min(floor[Event], lastEvent)
		if r.seen.outcome, err = r.bus.LastSequence(ctx, Outcome); err != nil { // after AckFloor: outcomes precede acks
			return nil, err
		}
	}
	floor[Event] = min(floor[Event], r.settled)
	return floor, nil
}

const (
	// removeMost is the largest number of messages that Remove removes from a stream. Others can't be stored in the meantime.
	removeMost    = 100_000
	removeTimeout = time.Minute // for the requests to one stream
)

// removeFrom removes the messages of a kind up to a sequence whose retention has ended, and that were stored before all times in
// kept. It returns how many were removed, and when the oldest that is left was stored; zero: none is left.
func (r *Remover) removeFrom(ctx context.Context, k Kind, finished uint64, kept []time.Time) (n uint64, oldest time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	s, err := r.bus.js.Stream(ctx, k.Stream())
	if err != nil {
		return 0, oldest, err
	}
	info := s.CachedInfo()
	if info.State.Msgs == 0 {
		return 0, oldest, nil
	}
	oldest = info.State.FirstTime
	retention := topology.RetentionOf(info.Config)
	if retention == 0 {
		return 0, oldest, nil
	}
	until := info.TimeStamp.Add(-retention)
	for _, t := range kept {
		if t.Before(until) {
			until = t
		}
	}
	if !oldest.Before(until) || finished < info.State.FirstSeq {
		return 0, oldest, nil
	}
	from, err := r.firstSince(ctx, info, until)
	if err != nil {
		return 0, oldest, err
	}
	if finished < from {
		from = finished + 1
	}
	from = min(from, info.State.FirstSeq+removeMost)
	if from <= info.State.FirstSeq {
		return 0, oldest, nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(from)); err != nil {
		return 0, oldest, err
	}
	now, err := s.Info(ctx)
	if err != nil {
		return 0, oldest, err
	}
	oldest = now.State.FirstTime
	if now.State.Msgs == 0 {
		oldest = time.Time{}
	}
	return from - info.State.FirstSeq, oldest, nil
}

// firstSince returns the sequence of the first message of a stream that was stored at or after a time; if there is none, the
// sequence after the last message. It returns the stream's first sequence if the replica that answers lags far behind.
func (r *Remover) firstSince(ctx context.Context, info *jetstream.StreamInfo, since time.Time) (uint64, error) {
	found, err := r.bus.batch(ctx, info.Config.Name, 1, jetstreamext.GetBatchStartTime(since))
	switch {
	case err != nil:
		return 0, err
	case len(found) > 0:
		return found[0].Sequence, nil
	case info.State.LastTime.Before(since):
		return info.State.LastSeq + 1, nil
	}
	return info.State.FirstSeq, nil
}
