package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// sample is what one round measured of a shape.
type sample struct {
	rate        float64 // events per second of the burst
	cpu, broker float64 // seconds per 1,000 events of the burst: all processes, and the broker if it is apart
	ackP99      float64 // milliseconds, of the burst
	p50, p99    float64 // milliseconds, at the steady rate, from click to close-out
	calls       float64 // of Procore, per event of the burst
	memory      float64 // MiB, of all processes, the largest
	others      float64 // the share of the machine that other processes used
}

// compare measures every shape in each round, in another order each time, and prints the medians and the ratios to the first
// shape in the same round. It prints no figure unless every pipeline has done all its work; see world.check.
func compare(ctx context.Context, o Options, out io.Writer) error {
	var measured []shape
	for _, s := range shapes {
		if s.missing != nil {
			if path := s.missing(o.Programs); path != "" {
				fmt.Fprintf(out, "%s: not measured, because %s does not exist; make bench builds it\n", s.name, path)
				continue
			}
		}
		measured = append(measured, s)
	}
	rounds := make([][]sample, o.Rounds) // by round and shape
	for i := range rounds {
		rounds[i] = make([]sample, len(measured))
		for n := range measured {
			at := (n + i) % len(measured)
			s, err := round(ctx, o, measured[at])
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", measured[at].name, i+1, err)
			}
			rounds[i][at] = s
			fmt.Fprintf(os.Stderr, "round %d of %d: %s: done\n", i+1, o.Rounds, measured[at].name)
		}
	}
	printComparison(out, o, measured, rounds)
	return nil
}

// round measures one shape with new processes and an empty broker.
func round(ctx context.Context, o Options, s shape) (m sample, err error) {
	r, err := newRig(ctx, o, s)
	if err != nil {
		return m, err
	}
	defer r.close()
	export := func(n, rate int) (result, error) {
		return r.procore.exportType(ctx, measured, "create_commitment", n, rate)
	}
	if _, err := export(200, 0); err != nil { // warm up tokens, connections and caches
		return m, err
	}
	steady, err := r.export(ctx, o.Rate*o.Seconds, o.Rate)
	if err != nil {
		return m, err
	}
	m.p50, m.p99 = steady.latency(0.50), steady.latency(0.99)
	burst, err := r.burst(ctx, o.Events)
	burst.p50, burst.p99 = m.p50, m.p99
	return burst, err
}

// burst measures n exports without a pause.
func (r *rig) burst(ctx context.Context, n int) (m sample, err error) {
	settle()
	before, err := r.usage()
	if err != nil {
		return m, err
	}
	burst, err := r.export(ctx, n, 0)
	if err != nil {
		return m, err
	}
	settle() // what follows the last close-out counts too
	after, err := r.usage()
	if err != nil {
		return m, err
	}
	thousands := float64(n) / 1000
	m.rate = float64(n) / burst.seconds()
	m.cpu, m.broker = (after.cpu-before.cpu)/thousands, (after.broker-before.broker)/thousands
	m.others = (after.others - before.others) / after.at.Sub(before.at).Seconds() / float64(runtime.NumCPU())
	m.ackP99, m.calls = quantile(burst.Acks, 0.99), float64(burst.Calls)/float64(n)
	pipeline, broker := r.memory()
	m.memory = pipeline + broker
	return m, nil
}

// settle waits for the work that follows a close-out, such as acknowledgements.
func settle() { time.Sleep(500 * time.Millisecond) }

// printComparison prints a line per shape.
func printComparison(out io.Writer, o Options, measured []shape, rounds [][]sample) {
	fmt.Fprintf(out, `
Exports of commitments, each 3.2 KiB, through webhook, ERP request, booking, marks and close-out; 5 %% of the deliveries arrive twice.
Every write is synced. Each pipeline has closed and booked all its events, each once. Medians of %d rounds, on %d cores.
CPU is the seconds per 1,000 events of all processes of the pipeline, its connector and the broker, but not of Procore and the ERP.

%-27s %9s %6s %9s %22s %9s %17s %7s %8s %7s
`, len(rounds), runtime.NumCPU(), "", "events/s", "CPU", "of broker", "CPU ÷ by hand", "ack p99", fmt.Sprintf("p50/p99 at %d/s", o.Rate), "calls", "MiB", "others")
	for i, s := range measured {
		of := func(f func(sample) float64) float64 {
			all := make([]float64, len(rounds))
			for j, r := range rounds {
				all[j] = f(r[i])
			}
			return median(all)
		}
		ratios := make([]float64, len(rounds))
		for j, r := range rounds {
			ratios[j] = r[i].cpu / r[0].cpu
		}
		ratio, broker := "1", "–"
		if i > 0 {
			ratio = fmt.Sprintf("%.2f (%.2f to %.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios))
		}
		if !s.embedded {
			broker = fmt.Sprintf("%.2f", of(func(m sample) float64 { return m.broker }))
		}
		fmt.Fprintf(out, "%-27s %9.0f %6.2f %9s %22s %6.0f ms %17s %7.3f %8.0f %5.0f %%\n", s.name,
			of(func(m sample) float64 { return m.rate }), of(func(m sample) float64 { return m.cpu }), broker, ratio,
			of(func(m sample) float64 { return m.ackP99 }),
			fmt.Sprintf("%.0f / %.0f ms", of(func(m sample) float64 { return m.p50 }), of(func(m sample) float64 { return m.p99 })),
			of(func(m sample) float64 { return m.calls }), of(func(m sample) float64 { return m.memory }), 100*of(func(m sample) float64 { return m.others }))
	}
	fmt.Fprintf(out, `
ack p99: from the webhook call to its answer, in a burst of %d exports. p50/p99: from click to close-out. calls: of Procore, per event
of the burst. MiB: largest resident memory. others: the share of the machine that other programs used meanwhile (load average %s).
`, o.Events, loadAverage())
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(b), " ")
	return one
}
