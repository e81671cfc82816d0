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

// Limits of flushInterval. The outcomes of a burst that arrive within minFlushInterval share their calls.
const (
	minFlushInterval = 200 * time.Millisecond
	maxFlushInterval = 60 * time.Second
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

// batcher groups the outcomes of one company into flushes. If the flush interval has passed, an outcome is flushed at once.
// Otherwise outcomes are flushed together when the interval ends, when there are maxBatch of them, or when an immediate one
// arrives. While a flush is in progress, outcomes wait for the next.
type batcher struct {
	queue chan *queuedOutcome
	flush func(context.Context, []*queuedOutcome)
	quota func() (procore.Quota, bool)
}

const maxBatch = procore.MaxUpdates

// run flushes until ctx ends. The waiting handlers stop then too, because Consume cancels them.
func (b *batcher) run(ctx context.Context) {
	var next time.Time // when the flush interval ends
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-b.queue:
			batch := b.gather(ctx, first, time.Until(next))
			start := time.Now()
			b.flush(ctx, batch)
			next = start.Add(flushInterval(b.quota))
		}
	}
}

// gather collects a batch for at most wait.
func (b *batcher) gather(ctx context.Context, first *queuedOutcome, wait time.Duration) []*queuedOutcome {
	batch := []*queuedOutcome{first}
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	for len(batch) < maxBatch {
		if batch[len(batch)-1].immediate {
			return b.rest(batch)
		}
		select {
		case w := <-b.queue:
			batch = append(batch, w)
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

// flushInterval returns how long after the start of a flush the next one waits for more outcomes. A full batch or an
// immediate outcome ends the wait. The interval leaves half of the quota to the other services:
//
//	interval = time to the reset × callsPerFlush ÷ (remaining ÷ 2), at least minFlushInterval, at most maxFlushInterval
func flushInterval(quota func() (procore.Quota, bool)) time.Duration {
	q, known := quota()
	if !known {
		return minFlushInterval
	}
	untilReset := time.Until(q.Reset)
	if q.Remaining <= 0 {
		return min(max(untilReset, minFlushInterval), maxFlushInterval)
	}
	return min(max(untilReset*2*callsPerFlush/time.Duration(q.Remaining), minFlushInterval), maxFlushInterval)
}
