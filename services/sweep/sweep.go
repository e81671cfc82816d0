// Package sweep finds what never reached us: it reads Procore's own log of deliveries and the
// request details that are still open, and brings in each ERP request that we have no delivery of, as
// the message that ingest would have written. What arrived already is untouched: a delivery's
// subject has one message at most.
//
//	Procore shows                                 a sweep
//	───────────────────────────────────────────── ──────────────────────────────────────────────
//	a delivery discarded, or failing              writes the delivery
//	what is older than the company's since    names it, and leaves it alone
//	a request detail rejected, stale or of    names it, and leaves it alone
//	  a status that is not known
//	a request detail open, older than a minute    writes the delivery of its ERP request
//	  and the request was given up, or ended,     writes an outcome of run "swept" for the detail:
//	  without a word of this detail               the status-reporter closes it
//
// A company is swept every TIEBACK_SWEEP_EVERY (5m), when the service starts, and at once when
// the broker is back after an outage. While deliveries fail, Procore shows only those it tried: what
// waits behind them is found by its open request details.
//
// What an idle sweep costs is 4 calls, for a company with one hook: 1 for the hooks; 2 for each
// hook, discarded and failing; 1 for the page of request details on which the settled ones end. That is
// 48 an hour, of a limit of 3,600. The first sweep, one a day, and one that finds the lists not
// grown as expected, read all pages: 1 call for each 1,000 request details. Where the list has no
// order that can be relied on, all of it is read once an hour instead, if it has more than 3 pages. Long
// readings leave half of the rate limit to the services, short ones a tenth.
package sweep

import (
	"context"
	"errors"
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

// Deps are what the sweep needs from its process.
type Deps struct {
	Bus       *bus.Bus
	Companies company.Set
	Procore   *procore.Client
	Log       *zap.Logger
	Every     time.Duration // between the sweeps of a company; 0: 5 minutes
	Backoff   time.Duration // before a second try of a call; 0: 1 s
	Grace     time.Duration // how long a click may be on its way to us; 0: 60 Backoffs; negative: none
}

// Run is the service: New and Service.Run with what the process has.
func Run(ctx context.Context, a *tenant.App) error {
	s, err := New(Deps{Bus: a.Bus, Companies: a.Companies, Procore: a.Procore, Log: a.Log, Every: a.Settings.SweepEvery, Backoff: a.Backoff}, a.Registry)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// Service is the sweep.
type Service struct {
	Deps
	sweeps *prometheus.CounterVec
	found  *prometheus.CounterVec
	last   *prometheus.GaugeVec
	named  sync.Map // by company: how much was left alone by the last sweep, to log it once
}

// New makes the service; reg gets its metrics.
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
		Name: "tieback_sweeps_total", Help: "Sweeps by company and result (clean, found, forbidden, failed, skipped: another replica has just swept).",
	}, []string{"company", "result"}), found: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tieback_sweep_found_total", Help: "ERP requests that never reached us and were brought in by a sweep.",
	}, []string{"company"}), last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tieback_sweep_last_success_timestamp_seconds", Help: "When a company was last swept to the end, by this process or another, as Unix time; 0: never, as far as this process knows.",
	}, []string{"company"})}
	for id := range d.Companies { // there from the start: the first find is an increase, a company never swept is seen
		s.found.WithLabelValues(label(id))
		s.last.WithLabelValues(label(id))
	}
	return s, errors.Join(reg.Register(s.sweeps), reg.Register(s.found), reg.Register(s.last))
}

// Run sweeps until ctx ends: each company on its own, so that none waits for another's rate limit.
func (s *Service) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	var companies []*schedule
	for id := range s.Companies {
		c := &schedule{service: s, company: id, outage: make(chan time.Time, 1)}
		companies = append(companies, c)
		all.Go(func() { c.run(ctx) })
	}
	nc := s.Bus.JetStream().Conn()
	connected := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(connected)
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-connected:
			if !open {
				connected = nil // the connection is closed: nothing will follow
			}
			for _, c := range companies {
				c.nudge()
			}
		}
	}
}

// attempt sweeps a company and shows how it went.
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
		zap.Any("left_alone", r.Left[:min(len(r.Left), maxShown)]), zap.Int("left_alone_total", len(r.Left)), zap.Int("procore_calls", r.Calls),
		zap.Strings("notes", r.Notes), zap.Duration("took", time.Since(began)),
	}
	switch {
	case err != nil:
		s.Log.Warn("sweep did not end", append(fields, zap.Error(err))...)
		return
	case len(r.Found) > 0 || len(r.Closed) > 0 || len(r.Notes) > 0 || s.more(id, len(r.Left)):
		s.Log.Info("sweep found something", fields...)
	default:
		s.Log.Debug("sweep found nothing", fields...)
	}
	s.last.WithLabelValues(label).SetToCurrentTime()
}

// more says whether more is left alone than by the last sweep that left something alone.
func (s *Service) more(id int64, left int) bool {
	if left == 0 { // a sweep reads what is new since the last
		return false
	}
	before, _ := s.named.Swap(id, left)
	n, _ := before.(int)
	return left > n
}

// maxShown is how many requests a log line names.
const maxShown = 20

// result is the sweep in a word, for its metric.
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
