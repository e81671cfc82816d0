package bench

import (
	"context"
	"fmt"
	"io"
	"time"
)

// quotas are the limits of Procore under which quota measures. The events are so many that the limit decides the time.
var quotas = []struct {
	name          string
	hourly, spike int // -1: none
	events, rate  int
}{
	{"plentiful", 3_600_000, -1, 2000, 100},
	{"3,600 calls per hour", 3600, -1, 1000, 50},
	{"25 calls in 10 s", -1, 25, 60, 0},
}

// quota prints the calls to Procore per event under each limit, for `tieback run`.
func quota(ctx context.Context, o Options, out io.Writer) error {
	fmt.Fprintf(out, "\n%-24s %8s %16s %16s %12s\n", "limit of Procore", "events", "calls per event", "p50 / p99", "all done in")
	for _, q := range quotas {
		r, err := newRig(ctx, o, together)
		if err != nil {
			return err
		}
		err = r.measureQuota(ctx, q.hourly, q.spike, q.events, q.rate, func(a result) {
			fmt.Fprintf(out, "%-24s %8d %16.3f %16s %10.1f s\n", q.name, q.events, float64(a.Calls)/float64(q.events),
				fmt.Sprintf("%.1f / %.1f s", a.latency(0.5)/1000, a.latency(0.99)/1000), a.seconds())
		})
		r.close()
		if err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
	}
	return nil
}

func (r *rig) measureQuota(ctx context.Context, hourly, spike, n, rate int, done func(result)) error {
	if _, err := r.export(ctx, 50, 50); err != nil { // warm up
		return err
	}
	if err := r.procore.get(ctx, fmt.Sprintf("/limits?hourly=%d&spike=%d", hourly, spike), new(bool)); err != nil {
		return err
	}
	settle()
	limit, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	a, err := r.procore.exportType(limit, measured, "create_commitment", n, rate)
	if err == nil {
		done(a)
	}
	return err
}
