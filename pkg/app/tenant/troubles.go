package tenant

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/trouble"
)

// ReportTroubles records at the broker, until ctx ends, the companies whose ERP or Procore fails in the calls of this process. It
// writes nothing for a company without trouble.
//
//	a trouble begins, or changes its reason    written within ten seconds
//	it goes on                                 written again every 30 seconds
//	it ends                                    cleared within ten seconds
//	the process ends                           expires after a minute and a half
func (a *App) ReportTroubles(ctx context.Context) error {
	if !topology.CallsProcore(a.Name) {
		return nil
	}
	slow := cmp.Or(a.Slow, time.Minute)
	r := troubles{state: state.Of(a.Bus), every: slow / 2, written: map[troubleKey]written{}}
	tick := time.NewTicker(slow / 6)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if err := r.write(ctx, append(a.ERPs.Troubles(slow/3), a.Procore.Troubles(slow/3)...), now); err != nil && ctx.Err() == nil {
				a.Log.Debug("could not record which companies are in trouble", zap.Error(err))
			}
		}
	}
}

// troublesCollector exports since when each company's ERP or Procore has been failing in the calls of the process.
type troublesCollector struct{ *App }

var troubleSince = prometheus.NewDesc("tieback_trouble_since_timestamp_seconds",
	"Since when a company's ERP or Procore (source) has been failing in the calls of this process, as Unix time, with the reason; absent while it answers.",
	[]string{"company", "source", "reason"}, nil)

// Describe implements prometheus.Collector.
func (c troublesCollector) Describe(ch chan<- *prometheus.Desc) { ch <- troubleSince }

// Collect implements prometheus.Collector.
func (c troublesCollector) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	for _, t := range append(c.ERPs.Troubles(trouble.Silent), c.Procore.Troubles(trouble.Silent)...) {
		if t.Lasts(now) {
			ch <- prometheus.MustNewConstMetric(troubleSince, prometheus.GaugeValue, float64(t.Since.Unix()),
				strconv.FormatInt(t.Company, 10), cmp.Or(string(t.Source), "tieback"), reasonLabel(t))
		}
	}
}

// reasonLabel returns the reason of a trouble as a label. The system of a trouble without a reason answers: it asks to wait, or
// returns errors.
func reasonLabel(t trouble.Trouble) string {
	switch {
	case t.Reason != "":
		return string(t.Reason)
	case t.Class == fault.Throttled:
		return "throttled"
	}
	return "errors"
}

// troubles are the troubles that this process has recorded.
type troubles struct {
	state   *state.State
	every   time.Duration // between two writes of the same trouble
	written map[troubleKey]written
}

type troubleKey struct {
	company int64
	source  string
}

type written struct {
	trouble.Trouble
	at time.Time
}

// write stores the troubles that are new or were stored some time ago, and clears those that ended.
func (r *troubles) write(ctx context.Context, all []trouble.Trouble, now time.Time) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	seen := map[troubleKey]bool{}
	for _, t := range all {
		key := troubleKey{t.Company, string(t.Source)}
		if !t.Lasts(now) {
			continue
		}
		seen[key] = true
		if was, known := r.written[key]; known && was.Reason == t.Reason && was.Since.Equal(t.Since) && now.Sub(was.at) < r.every {
			continue
		}
		r.written[key] = written{t, now}
		g.Go(func() error { return r.state.SaveTrouble(ctx, t, 3*r.every) })
	}
	for key, was := range r.written {
		if !seen[key] {
			delete(r.written, key)
			g.Go(func() error { return r.state.ClearTrouble(ctx, was.Trouble) })
		}
	}
	return g.Wait()
}
