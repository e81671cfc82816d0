// Package sweep is the reconciliation that repairs: it reads Procore's log of deliveries and the open request details, and
// publishes a delivery for each ERP request that ingest has not received. A request that was received is not affected, because
// the subject of a delivery has at most one message.
//
//	Procore lists                                  a sweep
//	────────────────────────────────────────────── ────────────────────────────────────────────────
//	a delivery: discarded, or failing              publishes the delivery
//	a request: created before the setting "since"  lists it as skipped
//	a request detail: rejected, stale, or of an    lists it as skipped
//	  unknown status
//	a request detail: open for over a minute       publishes a delivery of its ERP request
//	  and its request ended, or was dead-lettered, publishes an outcome of run "swept", with which
//	  without closing it                           the status-reporter closes the request detail
//
// A company is swept when the service starts, every TIEBACK_SWEEP_EVERY (5m), and at once when the broker is available again
// after an outage. While a webhook's deliveries fail, Procore lists only the deliveries that it has tried; the sweep finds the
// other requests by their open request details.
//
// For a company with one webhook, a sweep that finds nothing makes 4 calls: one for the webhooks, two for the webhook's discarded
// and failing deliveries, and one for the newest page of request details. At one sweep per five minutes that is 48 calls per hour,
// of a limit of 3,600. The first sweep, one sweep per day, and a sweep that finds the lists changed unexpectedly read all pages:
// one call per 1,000 request details. A list of request details that has no reliable order is always read completely; if it has
// more than 3 pages, once per hour. Long reads leave half of the rate limit to the other services, short ones a tenth.
package sweep

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/erplog"
)

// Deps are the dependencies of the sweep.
type Deps struct {
	Bus       *bus.Bus
	Companies company.Set
	Procore   *procore.Client
	Log       *zap.Logger
	Every     time.Duration // interval between sweeps of a company; 0: 5 minutes
	Backoff   time.Duration // before a call is retried; 0: 1 s
	// Grace is how long a delivery may take to arrive, and a stage may take to close the request details of a message that it has
	// dead-lettered. 0: 60 Backoffs; negative: none.
	Grace time.Duration
}

// Run runs the service with the resources of its process.
func Run(ctx context.Context, a *tenant.App) error {
	s, err := New(Deps{Bus: a.Bus, Companies: a.Companies, Procore: a.Procore, Log: a.Log, Every: a.Settings.SweepEvery, Backoff: a.Backoff}, a.Registry)
	if err != nil {
		return err
	}
	w := newWebhookCertificates(&http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }})
	a.Certificates.Add(w.certificates)
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watching.Go(func() { w.watch(ctx, addresses(a.Companies)) })
	return s.Run(ctx)
}

// Service is the sweep.
type Service struct {
	Deps
	sweeps *prometheus.CounterVec
	found  *prometheus.CounterVec
	last   *prometheus.GaugeVec
	// skipped has, by company, how many requests were skipped by the last sweep that skipped any. A sweep that found nothing else
	// is logged at level info only if it skips more.
	skipped sync.Map
}

// New returns the service and registers its metrics with reg.
func New(d Deps, reg prometheus.Registerer) (*Service, error) {
	if d.Every == 0 {
		d.Every = 5 * time.Minute
	}
	if d.Backoff == 0 {
		d.Backoff = time.Second
	}
	if d.Grace == 0 {
		d.Grace = 60 * d.Backoff
	}
	s := &Service{Deps: d, sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tieback_sweeps_total", Help: "Sweeps by company and result (clean, found, forbidden, failed, skipped: another process has just swept the company).",
	}, []string{"company", "result"}), found: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tieback_sweep_found_total", Help: "ERP requests that ingest did not receive and a sweep published.",
	}, []string{"company"}), last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tieback_sweep_last_success_timestamp_seconds", Help: "Unix time of the last complete sweep of a company, by any process; 0: none is known to this process.",
	}, []string{"company"})}
	for id := range d.Companies { // export zeros, so that Prometheus sees the first find as an increase, and companies that were never swept
		s.found.WithLabelValues(label(id))
		s.last.WithLabelValues(label(id))
	}
	return s, errors.Join(reg.Register(s.sweeps), reg.Register(s.found), reg.Register(s.last))
}

// Run sweeps, and removes old messages of the streams, until ctx ends. Companies are swept independently, so that no company waits for another's rate limit.
func (s *Service) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	var companies []*schedule
	for id := range s.Companies {
		c := &schedule{service: s, company: id, outage: make(chan time.Time, 1)}
		companies = append(companies, c)
		all.Go(func() { c.run(ctx) })
	}
	all.Go(func() { s.removeOld(ctx) })
	nc := s.Bus.JetStream().Conn()
	connected := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(connected)
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-connected:
			if !open {
				connected = nil // the connection is closed and does not reconnect
			}
			for _, c := range companies {
				c.trigger()
			}
		}
	}
}

// removeEvery is the time between two calls of bus.Remover.
const removeEvery = 10 * time.Minute

// removeOld removes messages whose retention has ended, until ctx ends.
func (s *Service) removeOld(ctx context.Context) {
	r := s.Bus.NewRemover()
	tick := time.NewTicker(removeEvery)
	defer tick.Stop()
	for {
		removed, err := r.Remove(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.Log.Warn("could not remove old messages, will try again", zap.Error(err))
		default:
			s.Log.Debug("removed messages whose retention has ended", zap.Any("messages", removed))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// attempt sweeps a company, and logs and counts the result.
func (s *Service) attempt(ctx context.Context, id int64) {
	label := label(id)
	began := time.Now()
	r, err := s.Sweep(ctx, id)
	if ctx.Err() != nil {
		return
	}
	s.found.WithLabelValues(label).Add(float64(len(r.Found)))
	s.sweeps.WithLabelValues(label, r.result(err)).Inc()
	fields := []zap.Field{
		zap.Int64("company", id), zap.Int64s("found", r.Found[:min(len(r.Found), maxShown)]), zap.Int("found_total", len(r.Found)),
		zap.Int64s("closed_request_details", r.Closed), zap.Int("failing_deliveries", r.Failing),
		zap.Any("skipped", r.Skipped[:min(len(r.Skipped), maxShown)]), zap.Int("skipped_total", len(r.Skipped)), zap.Int("procore_calls", r.Calls),
		zap.Strings("notes", r.Notes), zap.Duration("took", time.Since(began)),
	}
	switch {
	case err != nil:
		s.Log.Warn("sweep failed", append(fields, zap.Error(err))...)
		return
	case len(r.Found) > 0 || len(r.Closed) > 0 || len(r.Notes) > 0 || s.moreSkipped(id, len(r.Skipped)):
		s.Log.Info("sweep found something", fields...)
	default:
		s.Log.Debug("sweep found nothing", fields...)
	}
	s.last.WithLabelValues(label).SetToCurrentTime()
}

// moreSkipped reports whether a sweep of a company skipped more requests than the last sweep that skipped any.
func (s *Service) moreSkipped(company int64, skipped int) bool {
	if skipped == 0 { // this sweep read only what was new since the last one
		return false
	}
	before, _ := s.skipped.Swap(company, skipped)
	n, _ := before.(int)
	return skipped > n
}

// maxShown is the largest number of requests that a log line lists.
const maxShown = 20

// result returns the label of the metric.
func (r Result) result(err error) string {
	switch {
	case errors.Is(err, erplog.ErrForbidden):
		return "forbidden"
	case err != nil:
		return "failed"
	case len(r.Found) > 0 || len(r.Closed) > 0:
		return "found"
	}
	return "clean"
}
