package lagexporter_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/bus/topology"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/lag-exporter"
)

func TestMain(m *testing.M) { bustest.VerifyNoLeaks(m) }

// exporter runs lag-exporter for a test. Its values are read as "name{label}": value.
type exporter struct {
	*testing.T
	registry *prometheus.Registry
}

func export(t *testing.T, b *bus.Bus) exporter {
	t.Helper()
	s := exporter{t, prometheus.NewRegistry()}
	e, err := lagexporter.New(lagexporter.Deps{Log: zap.NewNop(), Every: 20 * time.Millisecond, MaxBytes: 1 << 30}, s.registry)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- e.Run(ctx, b) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s exporter) values() map[string]float64 {
	s.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "{" + l.GetValue() + "}"
			}
			all[name] = m.GetGauge().GetValue()
		}
	}
	return all
}

// until waits until the values satisfy as.
func (s exporter) until(what string, as func(map[string]float64) bool) map[string]float64 {
	s.Helper()
	for range 1000 {
		if v := s.values(); as(v) {
			return v
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.Fatalf("%s: not within 10 s; values: %v", what, s.values())
	return nil
}

func has(name string, want float64) func(map[string]float64) bool {
	return func(v map[string]float64) bool { got, there := v[name]; return there && got == want }
}

// events publishes an event of each type, in this order, with consecutive request ids from first.
func events(t *testing.T, b *bus.Bus, first int64, types ...string) {
	t.Helper()
	for i, name := range types {
		r := first + int64(i)
		err := b.PublishOnce(t.Context(), bus.For(bus.Event, name, 7, r), &tiebackv1.Event{CompanyId: 7, ErpRequestId: r, Type: name})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func durable(t *testing.T, b *bus.Bus, name string) jetstream.Consumer {
	t.Helper()
	for _, d := range topology.Durables() {
		if d.Name == name {
			c, err := b.JetStream().CreateOrUpdateConsumer(t.Context(), d.Kind.Stream(), jetstream.ConsumerConfig{
				Durable: name, FilterSubject: d.Filter, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1, AckWait: time.Hour,
			})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	t.Fatalf("no consumer %s", name)
	return nil
}

func take(t *testing.T, c jetstream.Consumer, n int) []jetstream.Msg {
	t.Helper()
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Collect(func(yield func(jetstream.Msg) bool) {
		for m := range batch.Messages() {
			if !yield(m) {
				return
			}
		}
	})
	if len(all) != n {
		t.Fatalf("got %d messages, want %d", len(all), n)
	}
	return all
}

func ack(t *testing.T, m jetstream.Msg) {
	t.Helper()
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// age returns the age of an event in seconds.
func age(t *testing.T, b *bus.Bus, seq uint64) float64 {
	t.Helper()
	s, err := b.JetStream().Stream(t.Context(), bus.Event.Stream())
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(m.Time).Seconds()
}
