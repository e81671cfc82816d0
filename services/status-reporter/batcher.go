package statusreporter

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/status-reporter/internal/closeout"
)

// When the next flush begins. The gap is counted from the start of the last flush; a flush that takes longer than the gap is
// followed by the next one as soon as an outcome waits.
//
//	Procore's calls                     outcome                     gap
//	─────────────────────────────────── ─────────────────────────── ──────────────────────────────────────────────────────
//	not known                           any                         0.2 s
//	spent                               any                         until the reset, 0.2 to 60 s
//	fewer than 10,000 left              any                         formula, 0.2 to 60 s (6 s with 3,600 calls in an hour)
//	10,000 or more left (plentiful)     new                         formula, at most 60 s (6 ms with 3,500,000 in an hour)
//	  the same                          of an event that has been   formula, but at least a fifth of that time, up to 0.5 s:
//	                                      on its way for some time    outcomes of a backlog share calls, and hardly wait longer
//	any                                 isolated, or the 1,000th    none
//
//	formula = time to the reset × callsPerFlush ÷ (calls left ÷ 2): half of the calls are left to the other services
const (
	scarceGap  = 200 * time.Millisecond
	backlogGap = 500 * time.Millisecond
	maxGap     = 60 * time.Second
	// plentiful is more than the limits of 3,600 calls per hour and of 25 per 10 seconds ever leave, so that these limits are always
	// treated as scarce.
	plentiful = 10_000
	// callsPerFlush is the usual number of calls of a flush: external data, request details, and sometimes one more. If
	// conflictFree splits a flush, each batch makes that many calls.
	callsPerFlush = 3
)

// queuedOutcome is an outcome whose handler waits for a flush.
type queuedOutcome struct {
	closeout.Item
	inProgress bool        // it reports an event as in progress, which is not recorded
	subject    bus.Subject // where the report is recorded; zero if inProgress
	links      links
	span       trace.Link // to the handler's span; zero if tracing is off
	immediate  bool       // flush it at once, because it is isolated (see bus.Message), and other messages wait for it
	done       chan error

	// Set before a flush sends to done.
	reported *tiebackv1.Outcome // as it was reported to Procore; nil if the flush failed
	result   bus.Result         // of the event
}

// batcher groups the outcomes of one company into flushes. An outcome is flushed at once if its gap to the last flush has passed.
// Otherwise outcomes are flushed together when the gap of one of them ends, when there are maxBatch of them, or when an immediate
// one arrives. While a flush is in progress, outcomes wait for the next.
type batcher struct {
	queue chan *queuedOutcome
	flush func(context.Context, []*queuedOutcome)
	quota func() (procore.Quota, bool)
}

const maxBatch = procore.MaxUpdates

// run flushes until ctx ends. The waiting handlers stop then too, because Consume cancels them.
func (b *batcher) run(ctx context.Context) {
	var last time.Time // when the last flush began
	shares := false    // whether outcomes of a backlog wait for others
	var gap time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-b.queue:
			batch := b.gather(ctx, first, func(w *queuedOutcome) time.Time {
				if shares {
					return last.Add(max(gap, w.backlogGap()))
				}
				return last.Add(gap)
			})
			last = time.Now()
			b.flush(ctx, batch)
			gap, shares = flushGap(b.quota)
		}
	}
}

// gather collects a batch until the first of its outcomes is due.
func (b *batcher) gather(ctx context.Context, first *queuedOutcome, due func(*queuedOutcome) time.Time) []*queuedOutcome {
	batch, end := []*queuedOutcome{first}, due(first)
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	for len(batch) < maxBatch {
		if batch[len(batch)-1].immediate {
			return b.rest(batch)
		}
		select {
		case w := <-b.queue:
			batch = append(batch, w)
			if at := due(w); at.Before(end) {
				end = at
				timer.Reset(time.Until(end))
			}
		case <-timer.C:
			return b.rest(batch)
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// rest adds to a batch the outcomes that are already queued.
func (b *batcher) rest(batch []*queuedOutcome) []*queuedOutcome {
	for len(batch) < maxBatch {
		select {
		case w := <-b.queue:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// flushGap returns the gap to the next flush, and whether outcomes of a backlog wait longer; see the table above.
func flushGap(quota func() (procore.Quota, bool)) (gap time.Duration, shares bool) {
	q, known := quota()
	if !known {
		return scarceGap, false
	}
	untilReset := time.Until(q.Reset)
	if q.Remaining <= 0 {
		return min(max(untilReset, scarceGap), maxGap), false
	}
	formula := max(0, untilReset) * 2 * callsPerFlush / time.Duration(q.Remaining)
	if q.Remaining < plentiful {
		return min(max(formula, scarceGap), maxGap), false
	}
	return min(formula, maxGap), true
}

// backlogGap returns a fifth of the time since Tieback received the event, at most the constant backlogGap.
func (w *queuedOutcome) backlogGap() time.Duration {
	if !w.Outcome.GetReceivedAt().IsValid() {
		return 0
	}
	return min(max(0, time.Since(w.Outcome.ReceivedAt.AsTime())/5), backlogGap)
}
