package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"golang.org/x/sync/errgroup"
)

// companyCounts are the numbers of companies that scale compares.
var companyCounts = []int{1, 100, 1000}

// scale prints the CPU time per event for several numbers of companies, of `tieback run` with the broker apart. The events arrive for
// the companies in turn.
func scale(ctx context.Context, o Options, out io.Writer) error {
	fmt.Fprintf(out, "\n%d exports in each round, of all companies in turn. CPU: as above. Idle: before, without events.\n%9s %6s %9s %8s %16s %16s %16s %8s\n",
		o.Events, "companies", "round", "events/s", "CPU", "÷ one company", "calls per event", "idle CPU", "MiB")
	base := make([]float64, o.Rounds)
	for round := range o.Rounds {
		for _, n := range companyCounts {
			m, idle, err := scaleOne(ctx, o, n)
			if err != nil {
				return fmt.Errorf("%d companies: %w", n, err)
			}
			if n == companyCounts[0] {
				base[round] = m.cpu
			}
			fmt.Fprintf(out, "%9d %6d %9.0f %8.2f %16.2f %16.3f %13.1f %% %8.0f\n", n, round+1, m.rate, m.cpu, m.cpu/base[round], m.calls, 100*idle, m.memory)
		}
	}
	return nil
}

// scaleOne measures a burst of n companies, and the cores that the pipeline uses without events.
func scaleOne(ctx context.Context, o Options, n int) (m sample, idle float64, err error) {
	s := together
	s.companies = n
	r, err := newRig(ctx, o, s)
	if err != nil {
		return m, 0, err
	}
	defer r.close()
	if _, err := r.export(ctx, max(n, 200), 0); err != nil { // each company gets its token and its ERP
		return m, 0, err
	}
	if idle, err = r.quiet(ctx); err != nil {
		return m, 0, err
	}
	m, err = r.burst(ctx, o.Events)
	return m, idle, err
}

// quiet waits, a minute at most, until the pipeline has nothing to do: sweeps that follow the start end. It returns the cores that it uses then.
func (r *rig) quiet(ctx context.Context) (cores float64, err error) {
	const interval = 3 * time.Second
	before, err := r.usage()
	for range 20 {
		if err != nil {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(interval):
		}
		var after usage
		after, err = r.usage()
		cores = (after.cpu - before.cpu) / after.at.Sub(before.at).Seconds()
		if cores < 0.05 {
			break
		}
		before = after
	}
	return cores, err
}

const backlogInterval = 5 * time.Second

// progress is what the sandbox counts of the running export.
type progress struct{ Acked, Closed int }

// backlog has ingest store o.Backlog deliveries while no other service runs, starts the others, and prints the rate and the
// memory while they catch up.
func backlog(ctx context.Context, o Options, out io.Writer) error {
	if path := missingService(o.Programs); path != "" {
		return fmt.Errorf("%s does not exist: make bench builds it", path)
	}
	var later []*process
	s := shape{name: "backlog", parts: func(r *rig) []*process {
		all := r.separate()
		later = all[:len(all)-1]
		return all[len(all)-1:]
	}}
	r, err := newRig(ctx, o, s, "BENCH_DUPLICATES=0")
	if err != nil {
		return err
	}
	defer r.close()
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	g.Go(func() error {
		defer cancel()
		_, err := r.export(ctx, o.Backlog, 0)
		return err
	})
	g.Go(func() error {
		var p progress
		for p.Acked < o.Backlog {
			if err := r.procore.get(ctx, "/progress", &p); err != nil {
				return ignoreEnd(ctx, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		fmt.Fprintf(out, "\n%d deliveries are stored. Now the other services start.\n%7s %9s %9s %28s\n", p.Acked, "s", "closed", "events/s", "MiB: services, broker")
		for _, q := range later {
			if err := q.start(ctx); err != nil {
				return err
			}
		}
		r.parts = append(later, r.parts...)
		return r.watch(ctx, o.Backlog, out)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	fmt.Fprintln(out, "Every event was closed and booked, once.")
	return nil
}

// watch prints a line per interval until n events are closed, and then by how much rate and memory changed from the first to the last third.
func (r *rig) watch(ctx context.Context, n int, out io.Writer) error {
	start, last := time.Now(), time.Now()
	var closed int
	var rates, memory []float64
	for {
		time.Sleep(backlogInterval)
		var p progress
		if err := r.procore.get(ctx, "/progress", &p); err != nil {
			return ignoreEnd(ctx, err)
		}
		now := time.Now()
		rate := float64(p.Closed-closed) / now.Sub(last).Seconds()
		closed, last = p.Closed, now
		var services, broker float64
		for _, q := range r.parts {
			_, m := q.memory()
			services += m
		}
		_, broker = r.broker.memory()
		fmt.Fprintf(out, "%7.0f %9d %9.0f %20.0f %7.0f\n", now.Sub(start).Seconds(), p.Closed, rate, services, broker)
		if p.Closed == n {
			break
		}
		rates, memory = append(rates, rate), append(memory, services)
	}
	third := max(len(rates)/3, 1)
	if len(rates) >= 3 {
		fmt.Fprintf(out, "From the first to the last third: events per second %+.0f %%, memory of the services %+.0f %%.\n", change(rates, third), change(memory, third))
	}
	return nil
}

// change returns by how many per cent the mean of the last n values differs from that of the first n.
func change(all []float64, n int) float64 {
	var first, last float64
	for i := range n {
		first += all[i]
		last += all[len(all)-1-i]
	}
	if first == 0 {
		return math.NaN()
	}
	return 100 * (last/first - 1)
}

// ignoreEnd returns nil if ctx has ended, because then the export has ended, and its error counts.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
