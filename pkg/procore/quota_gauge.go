package procore

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gauge collects the remaining calls, the expiry of tokens and the refused credentials at each scrape: a value that was set
// earlier could be that of a window that has ended.
type gauge struct{ client *Client }

var remaining = prometheus.NewDesc("tieback_procore_quota_remaining",
	"Calls left in the current windows of Procore's rate limits, without those in flight, by company and window (hour, spike).",
	[]string{"company", "window"}, nil)

var expires = prometheus.NewDesc("tieback_procore_token_expires_timestamp_seconds",
	"When this process's token for a company expires, as Unix time; absent if there is no token. The first call in its last minute, or later, renews it.",
	[]string{"company"}, nil)

var refusedSince = prometheus.NewDesc("tieback_procore_credentials_refused_timestamp_seconds",
	"Since when Procore has refused a company's credentials in the companies file, as Unix time; absent if it accepts them. The previous token may be in use until it expires.",
	[]string{"company"}, nil)

// Describe implements prometheus.Collector.
func (g gauge) Describe(ch chan<- *prometheus.Desc) {
	ch <- remaining
	ch <- expires
	ch <- refusedSince
}

// Collect implements prometheus.Collector.
func (g gauge) Collect(ch chan<- prometheus.Metric) {
	for id, s := range g.client.sessions {
		label := strconv.FormatInt(id, 10)
		running, _ := s.limiter.windows(id)
		for name, q := range running {
			ch <- prometheus.MustNewConstMetric(remaining, prometheus.GaugeValue, float64(q.Remaining), label, name)
		}
		if at, has := s.login.expires(); has {
			ch <- prometheus.MustNewConstMetric(expires, prometheus.GaugeValue, float64(at.Unix()), label)
		}
		if since := s.login.refusedSince(); !since.IsZero() {
			ch <- prometheus.MustNewConstMetric(refusedSince, prometheus.GaugeValue, float64(since.Unix()), label)
		}
	}
}

// Quota is the window of the rate limit that leaves fewer calls for its remaining time. If companies share it, Remaining is the
// company's share.
type Quota struct {
	Limit     int
	Remaining int       // without the calls in flight
	Reset     time.Time // by the local clock; zero: the window is over, and all calls are left
}

// quota returns the state of the window, while calls of this process are in flight.
func (w *window) quota(inFlight int) Quota {
	return Quota{Limit: w.limit, Remaining: max(0, min(w.left-inFlight, w.limit)), Reset: w.ends}
}

// windows returns the running windows of a company by name, and among how many companies they are shared.
func (m *limiter) windows(company int64) (running map[string]Quota, among int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.binding(company, m.now())
	running, among = map[string]Quota{}, 1
	for name, w := range map[string]*window{"hour": &l.hour, "spike": &l.spike} {
		if w.limit > 0 && !w.ends.IsZero() {
			running[name] = w.quota(l.inFlight)
		}
	}
	for id, t := range l.hour.turns {
		if id != company && (t.expected() > 0 || l.spike.turn(id).expected() > 0) {
			among++
		}
	}
	return running, among
}

// left returns the window that leaves a company fewer calls, with its share of them; false: no running window is known.
func (m *limiter) left(company int64) (binding Quota, known bool) {
	running, among := m.windows(company)
	for _, q := range running {
		q.Remaining /= among
		if !known || q.scarcer(binding, m.now()) {
			binding, known = q, true
		}
	}
	return binding, known
}

// scarcer reports whether q has fewer calls left for its time than other.
func (q Quota) scarcer(other Quota, now time.Time) bool {
	perCall := func(q Quota) float64 { return float64(q.Reset.Sub(now)) / max(float64(q.Remaining), 0.001) }
	return perCall(q) > perCall(other)
}
