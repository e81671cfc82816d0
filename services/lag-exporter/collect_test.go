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
	full := sample{
		up: true, consumers: []consumerLag{{consumer: "export", messages: 3, oldest: 90 * time.Second}},
		streams: []streamSize{{stream: "TIEBACK_EVENT", messages: 7, bytes: 700, offline: 1}},
		store:   storeSize{known: true, used: 900, limit: 1000}, lost: map[string]uint64{"TIEBACK_DEAD": 2},
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
		{"a complete sample", full, 0, "tieback_broker_up 1\n", 2 + 3 + 2 + 1 + 1 + 1},
		{"no sample yet", sample{}, time.Hour, "tieback_broker_up 0\n", 0},
		{"an incomplete sample", sample{consumers: full.consumers}, 0, "tieback_broker_up 0\n", 2 + 1},
		{"an old sample", full, time.Hour, "tieback_broker_up 0\n", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := prometheus.NewPedanticRegistry()
			e, err := New(Deps{Log: zap.NewNop(), MaxBytes: 5000}, reg)
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
