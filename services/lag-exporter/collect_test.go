package lagexporter

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
)

// Values of the last sample are exported. When the broker does not answer, or the sample is old, they are removed, so that no
// graph continues with an old value.
func TestCollect(t *testing.T) {
	lag := []prometheus.Metric{gauge(messages, 3, "export"), gauge(age, 90, "export")}
	full := sample{
		up: true, metrics: append([]prometheus.Metric{gauge(streamBytes, 700, "TIEBACK_EVENT"), gauge(brokerBytes, 900)}, lag...),
		lost: map[string]uint64{"TIEBACK_DEAD": 2},
	}
	const up = `
# HELP tieback_broker_up 1 if JetStream answered all requests of the last sample, otherwise 0.
# TYPE tieback_broker_up gauge
`
	for _, c := range []struct {
		name   string
		sample sample
		age    time.Duration
		up     string
		series int // all but tieback_broker_up
	}{
		{"a complete sample", full, 0, "tieback_broker_up 1\n", 4 + 1 + 1 + 1 + 2},
		{"no sample yet", sample{}, time.Hour, "tieback_broker_up 0\n", 0},
		{"an incomplete sample", sample{metrics: lag}, 0, "tieback_broker_up 0\n", 2 + 1},
		{"an old sample", full, time.Hour, "tieback_broker_up 0\n", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := prometheus.NewPedanticRegistry()
			e, err := New(Deps{Log: zap.NewNop(), MaxBytes: 5000, Memory: 2 << 30}, reg)
			if err != nil {
				t.Fatal(err)
			}
			c.sample.at = time.Now().Add(-c.age)
			e.show(c.sample, nil)
			e.deadLetters = map[string]int{"erp": 4}
			if err := testutil.GatherAndCompare(reg, strings.NewReader(up+c.up), "tieback_broker_up"); err != nil {
				t.Error(err)
			}
			n, err := testutil.GatherAndCount(reg)
			if err != nil || n-1 != c.series {
				t.Errorf("%d series beside tieback_broker_up, want %d (%v)", n-1, c.series, err)
			}
		})
	}
}
