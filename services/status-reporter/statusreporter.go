// Package statusreporter reports the outcomes of events to Procore: it marks records as synced and closes request details, for
// many events in one call, and records its reports in tb.closed. No other service does this.
//
//	admission.go   what an outcome may report
//	batcher.go     outcomes of a company that share calls
//	conflicts.go   outcomes that must not share a call
//	links.go       marks of older requests, and the links that marks make
//	closeout       the calls to Procore
//	monitor.go     events that are slow or past their deadline
package statusreporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/telemetry"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/status-reporter/internal/closeout"
)

const stage = "status-reporter"

// Deps are the dependencies of the status-reporter.
type Deps struct {
	Bus       *bus.Bus
	Companies company.Set
	Procore   *procore.Client
	Log       *zap.Logger
	Metrics   *telemetry.Stages
	Registry  prometheus.Registerer
	Backoff   time.Duration // before the second attempt; 0: 1 s
	Deadlines request.Deadlines
	Slow      time.Duration // age at which an event is reported as in progress; 0: a minute
}

// Run runs the service with the resources of its process.
func Run(ctx context.Context, a *tenant.App) error {
	s, err := New(Deps{
		Bus: a.Bus, Companies: a.Companies, Procore: a.Procore, Log: a.Log, Metrics: a.Metrics, Registry: a.Registry, Backoff: a.Backoff,
		Deadlines: request.Deadlines{Interactive: a.Settings.Deadline, Sync: a.Settings.SyncDeadline}, Slow: a.Slow,
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// Service is the status-reporter.
type Service struct {
	Deps
	store           store
	batchers        map[int64]*batcher // by company
	closeOuts       *prometheus.CounterVec
	closeOutSeconds *prometheus.HistogramVec
	expired         *prometheus.CounterVec
	created         time.Time // of the stream of outcomes; older outcomes were restored from a backup
}

// New returns the service and registers its metrics.
func New(d Deps) (*Service, error) {
	d.Slow = cmp.Or(d.Slow, time.Minute)
	s := &Service{Deps: d, store: busStore{d.Bus, state.Of(d.Bus)}, batchers: map[int64]*batcher{}, closeOutSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "tieback_close_out_seconds", Help: "From the user's click in Procore to the close-out, by event type.",
		Buckets: prometheus.ExponentialBuckets(0.05, 2, 15),
	}, []string{"type"}), expired: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tieback_deadlines_passed_total", Help: "Events that were closed as failed because their deadline passed, by event type.",
	}, []string{"type"}), closeOuts: newCloseOutCounter()}
	for _, e := range catalogue.Table {
		// Export a zero from the start, so that Prometheus sees the first expiry as an increase.
		s.expired.WithLabelValues(e.Name)
	}
	for id := range d.Companies {
		s.exportZeros(id)
		session, err := d.Procore.Company(id)
		if err != nil {
			return nil, err
		}
		s.batchers[id] = &batcher{queue: make(chan *queuedOutcome), quota: session.Quota, flush: func(ctx context.Context, batch []*queuedOutcome) {
			s.reportAll(ctx, session, batch)
		}}
	}
	return s, errors.Join(d.Registry.Register(s.closeOutSeconds), d.Registry.Register(s.expired), d.Registry.Register(s.closeOuts))
}

// Run reports until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var err error
	if s.created, err = s.Bus.Created(ctx, bus.Outcome); err != nil {
		return err
	}
	events, err := s.Bus.Created(ctx, bus.Event)
	if err != nil {
		return err
	}
	var batchers sync.WaitGroup
	defer batchers.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end() // if the consumer does not start, the batchers end too
	for _, b := range s.batchers {
		batchers.Go(func() { b.run(ctx) })
	}
	if s.Deadlines != (request.Deadlines{}) {
		monitor := s.newSlowMonitor()
		monitor.created = events
		batchers.Go(func() { monitor.run(ctx, min(checkInterval, s.Slow/2)) })
	}
	return s.Bus.Consume(ctx, bus.Consumer{
		Kind: bus.Outcome, Name: stage, Concurrency: 2 * maxBatch, Backoff: s.Backoff, RetryFor: bus.Day,
		Handle: s.handle, Done: s.done, GiveUp: s.giveUp, Observe: s.Metrics.Observer(stage, s.Log),
	})
}

func (s *Service) newSlowMonitor() *slowMonitor {
	return &slowMonitor{
		bus: s.Bus, zone: s.zone, deadlines: s.Deadlines, slow: s.Slow, log: s.Log, expired: s.expired, now: time.Now, events: map[uint64]*slowEvent{}, reporting: map[int64]int{},
		report: func(ctx context.Context, o *tiebackv1.Outcome) error {
			return s.queue(ctx, &queuedOutcome{Item: closeout.Item{Outcome: o}, inProgress: true, done: make(chan error, 1)})
		},
	}
}

// zone returns the company's time zone; UTC if the company is unknown.
func (s *Service) zone(id int64) *time.Location {
	if c := s.Companies[id]; c != nil {
		return c.Zone
	}
	return time.UTC
}

// handle reports an outcome. It waits for a flush, in which the outcome shares calls with other outcomes of its company.
func (s *Service) handle(ctx context.Context, m bus.Message) error {
	w, err := s.decode(ctx, m)
	if w == nil || err != nil {
		return err
	}
	if w.Outcome.SkipReason != "" { // nothing to report to Procore
		return s.store.PublishOnce(ctx, w.subject, w.Outcome)
	}
	if err := s.queue(ctx, w); err != nil {
		return err
	}
	m.SetEnd(w.result, reasonOf(w.reported))
	return nil
}

// decode decodes and admits an outcome. It returns nil if the outcome has an unlink and was already reported.
func (s *Service) decode(ctx context.Context, m bus.Message) (*queuedOutcome, error) {
	o := &tiebackv1.Outcome{}
	if err := bus.Decode(m, o); err != nil {
		return nil, err
	}
	if err := s.admit(ctx, m, o); err != nil {
		return nil, err
	}
	// An unlink is not idempotent, and a broker that was restarted may have lost the ack.
	if slices.ContainsFunc(o.CloseOuts, func(c *tiebackv1.CloseOut) bool { return len(c.Unlinks) > 0 }) {
		if done, err := s.done(ctx, m); done || err != nil {
			return nil, err
		}
	}
	if err := s.dropReported(ctx, m, o); err != nil {
		return nil, err
	}
	item := closeout.Item{Outcome: o, Redelivered: m.Redelivered || m.Subject.Run != "", MayBeFinal: m.Subject.Run != "" || o.DeadLettered}
	return &queuedOutcome{Item: item, subject: reportSubject(m), immediate: m.Isolated, done: make(chan error, 1)}, nil
}

// queue passes an outcome to its company's batcher and waits for the flush.
func (s *Service) queue(ctx context.Context, w *queuedOutcome) error {
	w.span = trace.LinkFromContext(ctx)
	b := s.batchers[w.Outcome.CompanyId]
	if b == nil {
		_, err := s.Procore.Company(w.Outcome.CompanyId)
		return err
	}
	select {
	case b.queue <- w:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// done reports whether an outcome was reported and recorded, so that only its ack was lost.
func (s *Service) done(ctx context.Context, m bus.Message) (bool, error) {
	return s.store.Has(ctx, reportSubject(m))
}

// tracer starts a trace for each batch. Its span, named flush, has links to the spans of the batch's events; see
// pkg/bus/trace.go.
var tracer = otel.Tracer("github.com/tieback/tieback/services/status-reporter")

// spans returns the links to the spans of a batch's events.
func spans(batch []*queuedOutcome) (links []trace.Link) {
	for _, w := range batch {
		if w.span.SpanContext.IsValid() {
			links = append(links, w.span)
		}
	}
	return links
}

// reportAll reports outcomes to Procore in conflict-free batches.
func (s *Service) reportAll(ctx context.Context, session *procore.Session, outcomes []*queuedOutcome) {
	for _, batch := range conflictFree(outcomes) {
		s.report(ctx, session, batch)
	}
}

// report reports a batch to Procore, records what was reported, then lets the handlers return.
func (s *Service) report(ctx context.Context, session *procore.Session, batch []*queuedOutcome) {
	ctx, span := tracer.Start(ctx, "flush", trace.WithLinks(spans(batch)...), trace.WithAttributes(attribute.Int("tieback.outcomes", len(batch))))
	defer span.End()
	batch = s.dropSuperseded(ctx, batch)
	items := make([]closeout.Item, len(batch))
	for i, w := range batch {
		items[i] = w.Item
	}
	results := s.reportRecovered(ctx, session, items, s.storeLinks(batch))
	var records sync.WaitGroup
	for i, w := range batch {
		r := results[i]
		records.Go(func() {
			if r.Err == nil {
				w.reported, w.result = r.Reported, resultOf(w.Outcome)
				if w.result == bus.ResultSuccess && resultOf(r.Reported) != bus.ResultSuccess {
					w.result = bus.ResultFailed // Procore refused a part of it
				}
				if !w.inProgress {
					r.Err = s.record(ctx, w.subject, r.Reported, w.result)
				}
			}
			w.done <- r.Err
		})
	}
	records.Wait()
}

// reportRecovered is closeout.Report, but returns a panic as the error of each item, so that other companies are not affected.
func (s *Service) reportRecovered(ctx context.Context, session *procore.Session, items []closeout.Item, store closeout.StoreLinks) (results []closeout.Result) {
	defer func() {
		if p := recover(); p != nil {
			results = slices.Repeat([]closeout.Result{{Err: fault.New(fault.Transient, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))}}, len(items))
		}
	}()
	return closeout.Report(ctx, session, items, store)
}

// record publishes a reported outcome in tb.closed, unless an earlier call did, and counts it. A repeated call counts it again.
func (s *Service) record(ctx context.Context, subject bus.Subject, o *tiebackv1.Outcome, r bus.Result) error {
	s.closeOuts.WithLabelValues(strconv.FormatInt(subject.Company, 10), string(subject.Category), string(r)).Inc()
	if t := o.GetRequestedAt(); t.IsValid() {
		s.closeOutSeconds.WithLabelValues(o.Type).Observe(time.Since(t.AsTime()).Seconds())
	}
	return s.store.PublishOnce(ctx, subject, o)
}

// reportSubject returns the subject under which the report of an outcome is recorded.
func reportSubject(m bus.Message) bus.Subject {
	return bus.For(bus.Closed, m.Subject.Type, m.Subject.Company, m.Subject.Request).WithRun(m.Subject.Run)
}

// giveUp dead-letters an outcome that could not be reported, then closes request details as failed, so that the user's button is
// free; see failedOutcome.
func (s *Service) giveUp(ctx context.Context, m bus.Message, cause error) error {
	if done, err := s.store.Has(ctx, reportSubject(m)); done || err != nil {
		return err // it was reported by an earlier attempt
	}
	if err := s.Bus.DeadLetter(ctx, stage, m, cause); err != nil {
		return err
	}
	o := &tiebackv1.Outcome{}
	if bus.Decode(m, o) != nil {
		return nil // not an outcome, so it has no request details
	}
	session, err := s.Procore.Company(o.CompanyId)
	if err != nil {
		return nil // the company is not connected
	}
	failed, err := s.failedOutcome(ctx, m, o)
	if failed == nil || err != nil {
		return err
	}
	noLinks := func(context.Context, int, *tiebackv1.Outcome) error { return nil } // failed has no marks
	r := closeout.Report(ctx, session, []closeout.Item{{Outcome: failed, Redelivered: true, MayBeFinal: true}}, noLinks)[0]
	if r.Err != nil && fault.ClassOf(r.Err) != fault.Permanent {
		return r.Err // the dead letter is kept, and the outcome is redelivered
	}
	if r.Err != nil {
		s.Log.Error("request details could not be closed as failed: check them in Procore", zap.String("subject", m.RawSubject), zap.Error(r.Err))
		return nil
	}
	s.closeOuts.WithLabelValues(strconv.FormatInt(o.CompanyId, 10), string(m.Subject.Category), string(bus.ResultFailed)).Inc()
	return s.Bus.PublishOnce(ctx, reportSubject(m), r.Reported)
}

// failedOutcome returns the outcome to report in place of one that the status-reporter gives up on. It has the request
// details of the outcome itself, even if the subject does not parse, as may be the case for an outcome of a newer version. An
// outcome that is not admitted is not trusted; for it failedOutcome returns what replacement returns, which may be nil.
func (s *Service) failedOutcome(ctx context.Context, m bus.Message, o *tiebackv1.Outcome) (*tiebackv1.Outcome, error) {
	if m.RawSubject != m.Subject.String() {
		return allFailed(o), nil
	}
	switch err := s.admit(ctx, m, o); {
	case err == nil:
		return allFailed(o), nil
	case fault.ClassOf(err) != fault.Permanent:
		return nil, err
	}
	return s.replacement(ctx, m.Subject)
}

// allFailed returns an outcome with the request details of o, all failed.
func allFailed(o *tiebackv1.Outcome) *tiebackv1.Outcome {
	out := proto.Clone(o).(*tiebackv1.Outcome)
	out.CloseOuts, out.DeadLettered = nil, true
	for _, c := range o.CloseOuts {
		if c.RequestDetailId == 0 {
			continue
		}
		f := &tiebackv1.CloseOut{RequestDetailId: c.RequestDetailId, Status: tiebackv1.Status_STATUS_FAILED, Record: c.Record, Messages: c.Messages}
		if c.Status != tiebackv1.Status_STATUS_FAILED {
			f.Messages = []string{notReported}
		}
		out.CloseOuts = append(out.CloseOuts, f)
	}
	return out
}
