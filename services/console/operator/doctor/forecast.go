package doctor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
)

// growth is a stream, and how it grows.
type growth struct {
	stream    string
	messages  float64
	bytes     float64
	perDay    float64       // messages of the last 24 hours
	retention time.Duration // 0: for ever
}

// after returns the messages and bytes of a stream after a number of days at today's rate. Until its retention has passed, no message of
// today is removed.
func (g growth) after(days float64) (messages, bytes float64) {
	messages = g.messages + g.perDay*days
	if kept := g.retention.Hours() / 24; kept > 0 {
		steady := g.perDay * kept
		if messages = min(messages, max(g.messages, steady)); days >= kept {
			messages = steady
		}
	}
	each := bytesOf[g.stream]
	if g.messages > 0 {
		each = g.bytes / g.messages
	}
	return messages, messages * each
}

// bytesOf is the size of a message of a stream without messages.
var bytesOf = map[string]float64{bus.Event.Stream(): 4 << 10}

// forecastDays is how far the forecast looks.
const forecastDays = 365

// forecast compares what the broker will need with its limits, in bytes; 0: not known. It returns one sentence, and what to do.
func forecast(all []growth, memoryLimit, diskLimit float64) (level Level, text, action string) {
	var memory, disk float64 // at the end
	memoryOut, diskOut := math.Inf(1), math.Inf(1)
	for day := 0.0; day <= forecastDays; day++ {
		messages := 0.0
		disk = 0
		for _, g := range all {
			m, b := g.after(day)
			messages += m
			disk += b
		}
		memory = float64(topology.BrokerMemory(uint64(messages)))
		if memoryLimit > 0 && memory > memoryLimit && math.IsInf(memoryOut, 1) {
			memoryOut = day
		}
		if diskLimit > 0 && disk > diskLimit && math.IsInf(diskOut, 1) {
			diskOut = day
		}
	}
	var requests float64
	fastest := all[0]
	for _, g := range all {
		if g.stream == bus.Delivery.Stream() {
			requests = g.perDay
		}
		if g.perDay > fastest.perDay {
			fastest = g
		}
	}
	began := fmt.Sprintf("at today's rate of %.0f requests per day", requests)
	what, out := "memory", memoryOut
	if diskOut < memoryOut {
		what, out = "disk", diskOut
	}
	needs := fmt.Sprintf("in a year each node of the broker needs about %s of memory and %s of disk", size(memory), size(disk))
	if math.IsInf(out, 1) {
		if memoryLimit == 0 {
			return OK, fmt.Sprintf("%s, %s; its memory is not known (TIEBACK_NATS_MEMORY)", began, needs), ""
		}
		return OK, began + ", " + needs, ""
	}
	when := fmt.Sprintf("in %.0f days", out)
	switch out {
	case 0:
		when = "now"
	case 1:
		when = "in 1 day"
	}
	text = fmt.Sprintf("%s, the %s of the broker runs out %s: %s; %s grows fastest, by %.0f messages per day", began, what, when, needs, fastest.stream, fastest.perDay)
	action = fmt.Sprintf("give the broker more %s, or shorten TIEBACK_RETENTION_…; see docs/sizing.md", what)
	if fastest.retention == 0 { // links are kept as long as their records
		action = fmt.Sprintf("give the broker more %s; see docs/sizing.md", what)
	}
	if out <= 14 {
		return Problem, text, action
	}
	return Warning, text, action
}

// size formats bytes.
func size(bytes float64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%.0f MiB", bytes/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", bytes/(1<<30))
}

// checkGrowth computes from the rate of the last 24 hours when the memory and the disk of the broker run out. A link that was written
// again in the last 24 hours counts as a new one.
func (d *Doctor) checkGrowth(ctx context.Context, r *findings, b *bus.Bus) {
	const check = "growth"
	var all []growth
	for _, name := range topology.StreamNames(false) {
		s, err := b.JetStream().Stream(ctx, name)
		if err != nil {
			return // checkStreams reports it
		}
		info := s.CachedInfo()
		recent, err := b.StoredSince(ctx, info, info.TimeStamp.Add(-24*time.Hour))
		if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrMsgNotFound) {
			recent, err = 0, nil // with replicas, only the leader of the state bucket answers, and does not count
		}
		if err != nil {
			r.problem(check, "check the broker", "%s: %v", name, err)
			return
		}
		all = append(all, growth{stream: name, messages: float64(info.State.Msgs), bytes: float64(info.State.Bytes), perDay: float64(recent), retention: topology.RetentionOf(info.Config)})
	}
	disk := 0.0
	account, err := b.JetStream().AccountInfo(ctx)
	if err == nil && account.Limits.MaxStore > 0 {
		disk = float64(account.Limits.MaxStore)
	}
	if limit := 0.9 * float64(d.Settings.MaxBytes); limit > 0 && (disk == 0 || limit < disk) {
		disk = limit
	}
	level, text, action := forecast(all, float64(d.Settings.BrokerMemory), disk)
	r.addOf(0, check, level, action, "%s", text)
}
