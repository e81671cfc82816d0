package procore

import (
	"strconv"

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

var foreignValues = prometheus.NewDesc("tieback_procore_quota_foreign_total",
	"Values in the quota bucket that this process ignored, because they were not written by a process with the client's secret.", nil, nil)

// Describe implements prometheus.Collector.
func (g gauge) Describe(ch chan<- *prometheus.Desc) {
	ch <- remaining
	ch <- expires
	ch <- refusedSince
	ch <- foreignValues
}

// Collect implements prometheus.Collector.
func (g gauge) Collect(ch chan<- prometheus.Metric) {
	var ignored int64
	for _, a := range g.client.accounts {
		ignored += a.limiter.foreignValues.Load()
	}
	ch <- prometheus.MustNewConstMetric(foreignValues, prometheus.CounterValue, float64(ignored))
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
