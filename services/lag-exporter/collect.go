package lagexporter

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tieback/tieback/pkg/bus"
)

var (
	brokerUp = prometheus.NewDesc("tieback_broker_up", "1: JetStream answered all that the exporter of lag last asked; 0: it did not.", nil, nil)
	messages = prometheus.NewDesc("tieback_consumer_lag_messages",
		"Messages that a consumer has not finished: not yet delivered, in hand, or put off.", []string{"consumer"}, nil)
	age = prometheus.NewDesc("tieback_consumer_oldest_seconds",
		"How long ago its stream took the oldest message that a consumer has not finished; 0: there is none.", []string{"consumer"}, nil)
	streamMessages = prometheus.NewDesc("tieback_stream_messages", "Messages kept in a stream.", []string{"stream"}, nil)
	streamBytes    = prometheus.NewDesc("tieback_stream_bytes", "Bytes that a stream takes on disk.", []string{"stream"}, nil)
	streamLimit    = prometheus.NewDesc("tieback_stream_bytes_limit",
		"Bytes that the streams TIEBACK_… may take together (TIEBACK_NATS_MAX_BYTES); not shown: no end.", nil, nil)
	offline     = prometheus.NewDesc("tieback_stream_replicas_offline", "Replicas of a stream that its leader does not hear.", []string{"stream"}, nil)
	brokerBytes = prometheus.NewDesc("tieback_broker_bytes", "Bytes that the account takes on the broker's disks, all replicas together.", nil, nil)
	brokerLimit = prometheus.NewDesc("tieback_broker_bytes_limit", "Bytes that the account may take there; not shown: it has no limit of its own.", nil, nil)
	lost        = prometheus.NewDesc("tieback_stream_lost_messages",
		"Messages that a stream has lost after it acknowledged them, at least, and that nobody has accepted as lost (tieback losses).", []string{"stream"}, nil)
	deadLetters = prometheus.NewDesc("tieback_dead_letters_open",
		"Dead letters that nobody has dealt with, by who can mend the cause (ours, tenant-data, erp, procore, limits, unknown).", []string{"cause"}, nil)
)

// Describe implements prometheus.Collector.
func (e *Exporter) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{brokerUp, messages, age, streamMessages, streamBytes, streamLimit, offline, brokerBytes, brokerLimit, lost, deadLetters} {
		ch <- d
	}
}

// Collect implements prometheus.Collector: it shows the last look and asks nothing. A look takes
// seconds at most, so one that is much older than that was the last of a process that hangs.
func (e *Exporter) Collect(ch chan<- prometheus.Metric) {
	e.mu.Lock()
	v, letters := e.view, e.letters
	e.mu.Unlock()
	if time.Since(v.at) > 2*e.Every+bus.AnswerTimeout {
		v, letters = view{}, nil
	}
	show := func(d *prometheus.Desc, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	up := 0.0
	if v.up {
		up = 1
	}
	show(brokerUp, up)
	for _, c := range v.consumers {
		show(messages, float64(c.messages), c.consumer)
		show(age, c.oldest.Seconds(), c.consumer)
	}
	for _, s := range v.streams {
		show(streamMessages, float64(s.messages), s.stream)
		show(streamBytes, float64(s.bytes), s.stream)
		show(offline, float64(s.offline), s.stream)
	}
	if v.store.known {
		show(brokerBytes, float64(v.store.used))
	}
	if v.store.limit > 0 {
		show(brokerLimit, float64(v.store.limit))
	}
	if e.MaxBytes > 0 && v.up {
		show(streamLimit, float64(e.MaxBytes))
	}
	for stream, n := range v.lost {
		show(lost, float64(n), stream)
	}
	for cause, n := range letters {
		show(deadLetters, float64(n), cause)
	}
}
