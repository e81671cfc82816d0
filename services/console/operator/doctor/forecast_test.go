package doctor

import (
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/bus"
)

// The forecast says in one sentence when memory or disk run out, and what to do.
func TestForecast(t *testing.T) {
	const day, gib = 24 * time.Hour, float64(1 << 30)
	streams := func(perDay, kept, links float64) []growth {
		of := func(k bus.Kind, days, each float64) growth {
			n := perDay * min(days, kept)
			return growth{k.Stream(), n, n * each, perDay, time.Duration(days) * day}
		}
		return []growth{
			of(bus.Delivery, 9, 250), of(bus.Event, 5, 4000), of(bus.Outcome, 5, 400), of(bus.Closed, 9, 400),
			{"KV_tieback-state", links, links * 250, 2 * perDay, 0},
		}
	}
	for name, c := range map[string]struct {
		streams      []growth
		memory, disk float64
		level        Level
		says         string
	}{
		"a small site":                      {streams(1000, 9, 9000), 2 * gib, 100 * gib, OK, "at today's rate of 1000 requests per day, in a year each node of the broker needs about 250 MiB"},
		"limits are not known":              {streams(1000, 9, 9000), 0, 0, OK, "TIEBACK_NATS_MEMORY"},
		"links fill the memory":             {streams(20_000, 9, 1_800_000), 2 * gib, 0, Warning, "KV_tieback-state grows fastest, by 40000 messages per day"},
		"the new rate fills the memory":     {streams(400_000, 1, 0), gib, 0, Problem, "the memory of the broker runs out in 2 days:"},
		"payloads fill the disk":            {streams(100_000, 1, 0), 200 * gib, gib, Problem, "the disk of the broker runs out in 2 days"},
		"it has run out":                    {streams(400_000, 9, 9_000_000), gib, 0, Problem, "runs out now"},
		"the streams are full, and steady":  {streams(1000, 9, 0), 0, gib, OK, "needs about"},
		"today's rate is below the average": {append(streams(1, 9, 0), growth{"TIEBACK_CLOSED", 1e6, 1e9, 0, 9 * day}), gib, 2 * gib, OK, "96 MiB of memory and 0 MiB of disk"},
	} {
		level, text, action := forecast(c.streams, c.memory, c.disk)
		if level != c.level || !strings.Contains(text, c.says) || (level == OK) != (action == "") {
			t.Errorf("%s: %s: %s (%s); want %s: %s", name, level, text, action, c.level, c.says)
		}
	}
}
