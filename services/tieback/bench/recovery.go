package bench

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	recoveryRate    = 200 // events per second
	recoverySeconds = 6
	killAfter       = 3 * time.Second
)

// recovery kills each process of each shape with SIGKILL under a steady load, starts it again at once, and prints how long it took
// until all events were closed that had been clicked before the process was back.
func recovery(ctx context.Context, o Options, out io.Writer) error {
	fmt.Fprintf(out, "\n%d events per second; a process is killed with SIGKILL after %v and started again at once. Every event was closed and booked, once.\n%-27s %-16s %10s %18s %14s\n",
		recoveryRate, killAfter, "", "killed", "back after", "all closed after", "slowest event")
	for _, s := range shapes {
		if s.missing != nil && s.missing(o.Programs) != "" {
			continue
		}
		for n := 0; ; n++ {
			more, err := recoverOne(ctx, o, s, n, out)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// recoverOne kills the process with the index n of a shape: its parts, then the broker. It returns false if there is no such process.
func recoverOne(ctx context.Context, o Options, s shape, n int, out io.Writer) (bool, error) {
	r, err := newRig(ctx, o, s)
	if err != nil {
		return false, err
	}
	defer r.close()
	victims := r.parts
	if r.broker != nil {
		victims = append(victims[:len(victims):len(victims)], r.broker)
	}
	if n >= len(victims) {
		return false, nil
	}
	victim := victims[n]
	if _, err := r.export(ctx, 200, 0); err != nil { // warm up
		return false, err
	}
	var a result
	var killed, back time.Time
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		a, err = r.export(gctx, recoveryRate*recoverySeconds, recoveryRate)
		return err
	})
	g.Go(func() error {
		select {
		case <-gctx.Done():
			return gctx.Err()
		case <-time.After(killAfter):
		}
		killed = time.Now()
		victim.kill()
		if err := victim.start(ctx); err != nil {
			return err
		}
		err := r.parts[len(r.parts)-1].listening(ctx, r.webhook)
		back = time.Now()
		return err
	})
	if err := g.Wait(); err != nil {
		return false, fmt.Errorf("%s: %w", victim.name, err)
	}
	last := killed
	var slowest time.Duration
	for _, e := range a.Exports {
		if e.Clicked.Before(back) && e.Closed.After(last) {
			last = e.Closed
		}
		slowest = max(slowest, e.Closed.Sub(e.Clicked))
	}
	fmt.Fprintf(out, "%-27s %-16s %8.1f s %16.1f s %12.1f s\n", s.name, victim.name, back.Sub(killed).Seconds(), last.Sub(killed).Seconds(), slowest.Seconds())
	return true, nil
}
