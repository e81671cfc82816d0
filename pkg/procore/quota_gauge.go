package procore

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// gauge tells what is left of the limits when it is asked: a number set earlier would outlive its window.
type gauge struct{ client *Client }

var remaining = prometheus.NewDesc("tieback_procore_quota_remaining",
	"Calls left in Procore's rate limit windows that are running, less those under way, by company and window (hour, spike).",
	[]string{"company", "window"}, nil)

// Describe implements prometheus.Collector.
func (g gauge) Describe(ch chan<- *prometheus.Desc) { ch <- remaining }

// Collect implements prometheus.Collector.
func (g gauge) Collect(ch chan<- prometheus.Metric) {
	for id, s := range g.client.sessions {
		for name, q := range s.meter.windows() {
			ch <- prometheus.MustNewConstMetric(remaining, prometheus.GaugeValue, float64(q.Remaining), strconv.FormatInt(id, 10), name)
		}
	}
}
