// Package lagexporter exports the lag of the pipeline to Prometheus. It samples JetStream every ten seconds, with a few small
// requests, independently of scrapes. It stores only the watermarks of the streams, to detect losses.
//
//	tieback_broker_up                        1: JetStream answered all requests of the last sample
//	tieback_consumer_lag_messages{consumer}  not finished: pending, in flight, or delayed
//	tieback_consumer_oldest_seconds{consumer}  age of the oldest of them; 0: there is none
//	tieback_stream_messages{stream}, tieback_stream_bytes{stream}
//	tieback_stream_oldest_seconds{stream}, tieback_stream_retention_seconds{stream}  of streams with a retention
//	tieback_stream_bytes_limit               TIEBACK_NATS_MAX_BYTES; from 0.9 of it ingest answers 503
//	tieback_stream_replicas_offline{stream}  the stream's leader can't reach them
//	tieback_broker_bytes, tieback_broker_bytes_limit  of the account, all replicas together
//	tieback_broker_memory_bytes, tieback_broker_memory_bytes_limit  of a node: estimated, and TIEBACK_NATS_MEMORY
//	tieback_stream_lost_messages{stream}     acknowledged, gone, and not accepted as lost; see bus.Losses
//	tieback_backup_last_success_timestamp_seconds  when the last complete backup began; 0: there is none
//	tieback_dead_letters_open{cause}         unresolved
//
// Unknown values are absent: if the broker does not answer a request, tieback_broker_up is 0 and the values of that request are
// removed, so that no graph continues with an old value.
//
// The oldest message is that of request.Queue. It may be pending, in flight, or delayed (throttled, or waiting for a retry).
// Its age counts from when its own stream stored it. For the status-reporter that is the time of the outcome, not of the
// click; tieback_close_out_seconds counts from the click. The age depends on the clocks of the broker and this process.
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

// Deps are the dependencies and settings of the exporter.
type Deps struct {
	Log   *zap.Logger
	Every time.Duration // interval between samples; 0: 10 s

	MaxBytes uint64 // TIEBACK_NATS_MAX_BYTES, limit of the streams together; 0: no limit
	Memory   uint64 // TIEBACK_NATS_MEMORY, of a node of the broker; 0: not known
}

// Exporter is the collector. It may be scraped before Run, and while the broker is unavailable.
type Exporter struct {
	Deps

	mu           sync.Mutex
	sample       sample
	deadLetters  map[string]int // by cause; nil: not known
	gaps         []bus.Gap      // that the count of dead letters has found
	loggedLosses string         // the losses that were logged last
	loggedError  string         // the error that was logged last
}

// sample is the state of the broker at one time.
type sample struct {
	at      time.Time // zero: no sample yet
	up      bool
	metrics []prometheus.Metric // of the answered requests
	lost    map[string]uint64   // messages by stream; nil: not known

	messages uint64 // in all streams
}

// New returns the exporter, registered with reg.
func New(d Deps, reg prometheus.Registerer) (*Exporter, error) {
	if d.Every == 0 {
		d.Every = 10 * time.Second
	}
	e := &Exporter{Deps: d}
	return e, reg.Register(e)
}

// Run samples the broker until ctx ends, then removes the metrics.
func (e *Exporter) Run(ctx context.Context, b *bus.Bus) error {
	var counting sync.WaitGroup
	defer counting.Wait()
	counting.Go(func() { e.countDeadLetters(ctx, request.NewCounter(b)) })
	defer e.show(sample{}, nil)
	for {
		v, err := takeSample(ctx, b)
		if v.up {
			v.lost, err = e.losses(ctx, b)
		}
		e.show(v, err)
		if !wait(ctx, e.Every) {
			return nil
		}
	}
}

// wait waits for d. It returns false if ctx ends first.
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

// show replaces the exported sample, and logs an error when it changes.
func (e *Exporter) show(v sample, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sample = v
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == e.loggedError:
	case err != nil:
		e.Log.Warn("the broker does not answer all requests", zap.Error(err))
	default:
		e.Log.Info("the broker answers again")
	}
	e.loggedError = text
}

// losses returns the losses of the streams, records their last sequences, and logs new losses.
func (e *Exporter) losses(ctx context.Context, b *bus.Bus) (map[string]uint64, error) {
	e.mu.Lock()
	gaps := e.gaps
	e.mu.Unlock()
	all, err := b.RecordWatermarks(ctx, gaps...)
	if err != nil {
		return nil, err
	}
	lost, text := map[string]uint64{}, ""
	for _, name := range streams() {
		lost[name] = 0
	}
	for _, l := range all {
		lost[l.Stream] = max(1, l.Missing)
		text += l.String() + "\n"
	}
	if text != e.loggedLosses && text != "" {
		for _, l := range all {
			e.Log.Error("a stream has lost messages that it had acknowledged", zap.String("stream", l.Stream),
				zap.Uint64("messages", l.Missing), zap.String("why", l.Why), zap.String("do", bus.LossAction))
		}
	}
	e.loggedLosses = text
	return lost, nil
}

// countDeadLetters counts dead letters until ctx ends. It runs concurrently with the samples, because the first count may take
// long.
func (e *Exporter) countDeadLetters(ctx context.Context, counter *request.Counter) {
	for {
		err := counter.Read(ctx)
		var open map[string]int
		if err == nil {
			open = counter.ByCause()
		}
		e.mu.Lock()
		e.deadLetters, e.gaps = open, counter.Gaps()
		e.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			e.Log.Debug("could not count dead letters", zap.Error(err))
		}
		if !wait(ctx, e.Every) {
			return
		}
	}
}
