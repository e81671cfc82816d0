package lagexporter

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
)

var (
	brokerUp = prometheus.NewDesc("tieback_broker_up", "1 if JetStream answered all requests of the last sample, otherwise 0.", nil, nil)
	messages = prometheus.NewDesc("tieback_consumer_lag_messages",
		"Messages that a consumer has not finished: pending, in flight, or delayed.", []string{"consumer"}, nil)
	age = prometheus.NewDesc("tieback_consumer_oldest_seconds",
		"Age of the oldest message that a consumer has not finished, since its stream stored it; 0: there is none.", []string{"consumer"}, nil)
	streamMessages = prometheus.NewDesc("tieback_stream_messages", "Messages in a stream.", []string{"stream"}, nil)
	streamBytes    = prometheus.NewDesc("tieback_stream_bytes", "Bytes of a stream on disk.", []string{"stream"}, nil)
	streamLimit    = prometheus.NewDesc("tieback_stream_bytes_limit",
		"Limit of the bytes of all streams TIEBACK_… together (TIEBACK_NATS_MAX_BYTES); absent: no limit.", nil, nil)
	streamOldest = prometheus.NewDesc("tieback_stream_oldest_seconds", "Age of the oldest message of a stream with a retention; 0: it has none.", []string{"stream"}, nil)
	streamKeeps  = prometheus.NewDesc("tieback_stream_retention_seconds", "How long a stream keeps finished messages; absent: for ever.", []string{"stream"}, nil)
	memory       = prometheus.NewDesc("tieback_broker_memory_bytes", "Memory that a node of the broker needs for the messages of all streams, estimated by their number.", nil, nil)
	memoryLimit  = prometheus.NewDesc("tieback_broker_memory_bytes_limit", "Memory of a node of the broker (TIEBACK_NATS_MEMORY); absent: not known.", nil, nil)
	offline      = prometheus.NewDesc("tieback_stream_replicas_offline", "Replicas of a stream that its leader can't reach.", []string{"stream"}, nil)
	brokerBytes  = prometheus.NewDesc("tieback_broker_bytes", "Bytes of the account on the broker's disks, all replicas together.", nil, nil)
	brokerLimit  = prometheus.NewDesc("tieback_broker_bytes_limit", "Limit of the account's bytes on the broker's disks; absent: no limit.", nil, nil)
	lost         = prometheus.NewDesc("tieback_stream_lost_messages",
		"Least number of messages that a stream has lost after it acknowledged them and that are not accepted as lost (tieback losses).", []string{"stream"}, nil)
	lastBackup = prometheus.NewDesc("tieback_backup_last_success_timestamp_seconds",
		"When the last complete backup began, as Unix time; 0: none is known to the broker.", nil, nil)
	deadLetters = prometheus.NewDesc("tieback_dead_letters_open",
		"Unresolved dead letters, by cause (tieback, company-data, erp, procore, limits, unknown).", []string{"cause"}, nil)
)

// Describe implements prometheus.Collector.
func (e *Exporter) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{brokerUp, messages, age, streamMessages, streamBytes, streamLimit, offline, brokerBytes, brokerLimit, streamOldest, streamKeeps, memory, memoryLimit, lost, lastBackup, deadLetters} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It exports the last sample and makes no requests. A sample takes seconds at most,
// so a much older one means that the exporter hangs, and is not exported.
func (e *Exporter) Collect(ch chan<- prometheus.Metric) {
	e.mu.Lock()
	v, deadLetterCounts := e.sample, e.deadLetters
	e.mu.Unlock()
	if time.Since(v.at) > 2*e.Every+bus.AnswerTimeout {
		v, deadLetterCounts = sample{}, nil
	}
	up := 0.0
	if v.up {
		up = 1
	}
	ch <- gauge(brokerUp, up)
	for _, m := range v.metrics {
		ch <- m
	}
	if e.MaxBytes > 0 && v.up {
		ch <- gauge(streamLimit, float64(e.MaxBytes))
	}
	if v.up {
		ch <- gauge(memory, float64(topology.BrokerMemory(v.messages)))
	}
	if e.Memory > 0 && v.up {
		ch <- gauge(memoryLimit, float64(e.Memory))
	}
	for stream, n := range v.lost {
		ch <- gauge(lost, float64(n), stream)
	}
	for cause, n := range deadLetterCounts {
		ch <- gauge(deadLetters, float64(n), cause)
	}
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}
