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

const (
	// minGap between two flushes of a busy company: a burst shares its calls.
	minGap = 200 * time.Millisecond
	maxGap = 60 * time.Second
	// callsPerFlush is what a flush usually costs: external data and request details, and a third now and then.
	callsPerFlush = 3
)

// waiting is an outcome whose handler waits for the flush.
type waiting struct {
	closeout.Item
	subject bus.Subject // under which is noted what was told; zero: it is no end
	links   links
	span    trace.Link // of its handler; zero with traces off
	alone   bool       // others wait until it is told, elsewhere too: it waits for no gap
	done    chan error

	// Set by the flush before it sends to done.
	reported *tiebackv1.Outcome // nil where the flush failed
	result   bus.Result         // how the event came out
}

// batcher coalesces one company's outcomes. The first after a quiet time goes out at once;
// what comes within the gap after a flush goes out together when the gap ends, or when
// there are maxBatch of them, or one that has no company to wait for. While a flush is under way
// the next batch gathers.
type batcher struct {
	queue chan *waiting
	flush func(context.Context, []*waiting)
	quota func() (procore.Quota, bool)
}

const maxBatch = procore.MaxUpdates

// run ends with ctx; whoever still waits then gives up by the same ctx.
func (b *batcher) run(ctx context.Context) {
	var next time.Time // no flush before
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-b.queue:
			batch := b.gather(ctx, first, time.Until(next))
			start := time.Now()
			b.flush(ctx, batch)
			next = start.Add(gap(b.quota))
		}
	}
}

func (b *batcher) gather(ctx context.Context, first *waiting, wait time.Duration) []*waiting {
	batch := []*waiting{first}
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	for len(batch) < maxBatch {
		if batch[len(batch)-1].alone {
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

// rest takes along what is queued already.
func (b *batcher) rest(batch []*waiting) []*waiting {
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

// gap is the time between two flushes that leaves half of the quota to the other services:
//
//	gap = time to the reset × callsPerFlush ÷ (remaining ÷ 2), at least minGap, at most maxGap
func gap(quota func() (procore.Quota, bool)) time.Duration {
	q, known := quota()
	if !known {
		return minGap
	}
	left := time.Until(q.Reset)
	if q.Remaining <= 0 {
		return min(max(left, minGap), maxGap)
	}
	return min(max(left*2*callsPerFlush/time.Duration(q.Remaining), minGap), maxGap)
}
