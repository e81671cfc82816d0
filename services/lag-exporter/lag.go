// Package lagexporter shows Prometheus how far the pipeline is behind: it asks JetStream itself, a few small
// questions every ten seconds, however often it is scraped. It writes nothing but how far the streams have come, to notice when one goes back.
//
//	tieback_broker_up                        1: JetStream answered all that was last asked
//	tieback_consumer_lag_messages{consumer}  not finished: not yet delivered, or out and not acked
//	tieback_consumer_oldest_seconds{consumer}  how old the oldest of them is; 0: there is none
//	tieback_stream_messages{stream}, tieback_stream_bytes{stream}
//	tieback_stream_bytes_limit               TIEBACK_NATS_MAX_BYTES; from 0.9 of it ingest takes nothing new
//	tieback_stream_replicas_offline{stream}  the stream's leader does not hear them
//	tieback_broker_bytes, tieback_broker_bytes_limit  of the account there, all replicas together
//	tieback_stream_lost_messages{stream}     acknowledged, gone, and not accepted as lost; see bus.Losses
//	tieback_dead_letters_open{cause}         nobody has dealt with them
//
// What is not known is not shown: where the broker does not answer, tieback_broker_up is 0 and what
// it did not answer is gone, so that no graph goes on with an old number.
//
// The oldest message is that of request.Queue. It may be waiting, in flight, or put off (throttled, to be tried again). A
// message's age counts from when its own stream took it: that of the status-reporter's oldest from its outcome, not from
// the click, which tieback_close_out_seconds tells. The clocks are the broker's and this process's.
package lagexporter

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
)

// Deps are what the exporter needs from its process.
type Deps struct {
	Log   *zap.Logger
	Every time.Duration // between two looks at the broker; 0: 10 s

	MaxBytes uint64 // TIEBACK_NATS_MAX_BYTES, of the kinds' streams together; 0: no end
}

// Exporter shows what is known. It may be scraped before Run, and while the broker is away.
type Exporter struct {
	Deps

	mu      sync.Mutex
	view    view
	letters map[string]int // nil: not known
	gaps    []bus.Gap      // that the reading of the letters met
	saidOf  string         // the losses that were logged last
	told    string         // the trouble that was logged last
}

// view is what one look at the broker showed.
type view struct {
	at        time.Time // zero: there was none
	up        bool
	consumers []backlog
	streams   []stock
	store     store
	lost      map[string]uint64 // messages by stream; nil: not known
}

// backlog is what a consumer has not finished.
type backlog struct {
	consumer string
	messages uint64
	oldest   time.Duration
}

// stock is what a stream holds.
type stock struct {
	stream          string
	messages, bytes uint64
	offline         int // replicas
}

// store is what the broker's account takes on disk, all replicas counted, in bytes.
type store struct {
	known       bool
	used, limit uint64 // limit 0: there is none
}

// New makes the exporter; reg gets its metrics.
func New(d Deps, reg prometheus.Registerer) (*Exporter, error) {
	if d.Every == 0 {
		d.Every = 10 * time.Second
	}
	e := &Exporter{Deps: d}
	return e, reg.Register(e)
}

// Run asks the broker until ctx ends. What it showed is gone then.
func (e *Exporter) Run(ctx context.Context, b *bus.Bus) error {
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() { e.countLetters(ctx, request.NewCounter(b)) })
	defer e.show(view{}, nil)
	for {
		v, err := look(ctx, b)
		if v.up {
			v.lost, err = e.losses(ctx, b)
		}
		e.show(v, err)
		if !wait(ctx, e.Every) {
			return nil
		}
	}
}

// wait says whether d has passed; false: ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// show replaces what is shown, and logs a change of trouble.
func (e *Exporter) show(v view, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.view = v
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	switch {
	case trouble == e.told:
	case err != nil:
		e.Log.Warn("the broker does not answer all that is asked", zap.Error(err))
	default:
		e.Log.Info("the broker answers again")
	}
	e.told = trouble
}

// losses asks what the streams have lost, has the bus remember how far they have come, and logs a change.
func (e *Exporter) losses(ctx context.Context, b *bus.Bus) (map[string]uint64, error) {
	e.mu.Lock()
	gaps := e.gaps
	e.mu.Unlock()
	all, err := b.RecordWatermarks(ctx, gaps...)
	if err != nil {
		return nil, err
	}
	lost, said := map[string]uint64{}, ""
	for _, name := range streams() {
		lost[name] = 0
	}
	for _, l := range all {
		lost[l.Stream] = max(1, l.Missing)
		said += l.String() + "\n"
	}
	if said != e.saidOf && said != "" {
		for _, l := range all {
			e.Log.Error("a stream has lost messages that it had acknowledged", zap.String("stream", l.Stream),
				zap.Uint64("messages", l.Missing), zap.String("why", l.Why), zap.String("do", bus.AfterLoss))
		}
	}
	e.saidOf = said
	return lost, nil
}

// countLetters reads on in the dead letters: beside the looks, as the first reading may take long.
func (e *Exporter) countLetters(ctx context.Context, t *request.Counter) {
	for {
		err := t.Read(ctx)
		var open map[string]int
		if err == nil {
			open = t.ByCause()
		}
		e.mu.Lock()
		e.letters, e.gaps = open, t.Gaps()
		e.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			e.Log.Debug("dead letters can't be counted", zap.Error(err))
		}
		if !wait(ctx, e.Every) {
			return
		}
	}
}
