// Command chaos checks that no request is lost, booked twice or left open, whatever fails: services, the broker (one node, or a
// cluster of three), Procore, the ERP, the links between them, a clock, a disk. All are real processes; only Procore is simulated.
//
//	go run ./deploy/test/chaos                   4 seeds
//	go run ./deploy/test/chaos --seed 7          repeats a seed, with its faults at the same times
//	go run ./deploy/test/chaos --seeds 50        the run of docs/evidence.md
//	go run ./deploy/test/chaos --for 1h          as many seeds as run in an hour
//
// It also checks rolling upgrades, without faults; see rolling.
//
//	go run ./deploy/test/chaos --rolling             each service and broker node is replaced under load
//	go run ./deploy/test/chaos --rolling --old REF   upgrades from the services of a commit, and back
//
// It runs on Linux. If mounting is permitted (as root, or in a user namespace) it fills disks too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

type options struct {
	seeds    int
	seed     uint64
	events   int
	faults   int
	window   time.Duration
	lasts    time.Duration
	nodes    string
	parallel int
	keep     bool
	rolling  bool
	old      string // a commit; auto: the newest release, or 20 commits ago
	dir      string
	ports    *ports
}

func main() {
	if inside() {
		os.Exit(run())
	}
	os.Exit(enter())
}

func flags() (o options, err error) {
	flag.IntVar(&o.seeds, "seeds", 4, "number of seeds")
	seed := flag.Uint64("seed", 0, "run only this seed; with --seeds: the first seed")
	flag.IntVar(&o.events, "events", 290, "approximate number of events of the scenario per seed; the load generators add about half as many")
	flag.IntVar(&o.faults, "faults", 24, "number of faults per seed")
	flag.DurationVar(&o.window, "window", 25*time.Second, "time in which faults begin")
	flag.DurationVar(&o.lasts, "for", 0, "run seeds for this time")
	flag.StringVar(&o.nodes, "nodes", "both", "broker nodes: 1, 3, or both alternately")
	flag.IntVar(&o.parallel, "parallel", 2, "seeds at once; a seed mostly waits")
	flag.BoolVar(&o.rolling, "rolling", false, "a rolling upgrade under load, without faults")
	flag.StringVar(&o.old, "old", "", "with --rolling: upgrade from this commit and back to it; auto: the newest release, or 20 commits ago")
	flag.BoolVar(&o.keep, "keep", false, "keep the logs of successful seeds")
	flag.StringVar(&o.dir, "dir", "", "folder for logs and data (default: a temporary one)")
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	o.seed = max(1, *seed)
	if given["seed"] && !given["seeds"] && !given["for"] {
		o.seeds = 1
	}
	o.ports = &ports{next: firstPort + os.Getpid()*37%(lastPort-firstPort)}
	switch {
	case o.nodes != "1" && o.nodes != "3" && o.nodes != "both":
		err = fmt.Errorf("--nodes: %q is not 1, 3 or both", o.nodes)
	case o.old != "" && !o.rolling:
		err = errors.New("--old: only with --rolling")
	case o.seeds < 1 || o.parallel < 1 || o.faults < 0:
		err = errors.New("--seeds, --parallel: at least 1; --faults: not negative")
	}
	return o, err
}

// nodesOf returns the number of broker nodes of a seed: with both, odd seeds have one.
func (o options) nodesOf(seed uint64) int {
	if o.rolling && o.nodes == "both" {
		return 3
	}
	if o.nodes == "1" || o.nodes == "both" && seed%2 == 1 {
		return 1
	}
	return 3
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := flags()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 2
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "tieback-chaos-"); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			return 2
		}
	}
	if o.rolling {
		return upgrade(ctx, o)
	}
	t, err := play(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	if t != nil && len(t.verdicts) > 0 {
		t.print(os.Stdout)
		for _, seed := range t.failed {
			fmt.Printf("replay: go run ./deploy/test/chaos --seed %d --nodes %d --events %d --faults %d --window %v; its logs are in %s\n",
				seed, o.nodesOf(seed), o.events, o.faults, o.window, filepath.Join(o.dir, fmt.Sprintf("seed-%d", seed)))
		}
	}
	if err != nil || len(t.failed) > 0 {
		return 1
	}
	if !o.keep {
		_ = os.RemoveAll(o.dir)
	}
	return 0
}

// play runs the seeds, several at once.
func play(ctx context.Context, o options) (*total, error) {
	began := time.Now()
	p, err := build(ctx, filepath.Join(o.dir, "bin"))
	if err != nil {
		return nil, err
	}
	fmt.Printf("services: %v; built in %v; logs in %s\n", p.services, time.Since(began).Round(time.Second), o.dir)
	t := &total{began: time.Now()}
	var mu sync.Mutex
	var errs []error
	next := o.seed
	more := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil || o.lasts > 0 && time.Since(t.began) > o.lasts || o.lasts == 0 && next >= o.seed+uint64(o.seeds) {
			return 0, false
		}
		next++
		return next - 1, true
	}
	var all sync.WaitGroup
	for range o.parallel {
		all.Go(func() {
			for seed, ok := more(); ok; seed, ok = more() {
				v, err := one(ctx, o, p, seed)
				mu.Lock()
				if err != nil {
					errs = append(errs, fmt.Errorf("seed %d: %w", seed, err))
				} else {
					v.print(os.Stdout)
					t.add(v)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return t, errors.Join(errs...)
}

func one(ctx context.Context, o options, p programs, seed uint64) (v *verdict, err error) {
	cl, err := newCluster(ctx, o, p, seed)
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, cl.close())
		if err == nil && v.ok() && !o.keep {
			_ = os.RemoveAll(cl.dir)
		}
	}()
	return cl.run(ctx, o)
}
