package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox/scenario"
)

const (
	// casts is the number of companies whose scenarios begin one after the other, so that all event types are in flight at any
	// time.
	casts    = 10
	castsOff = 6 * time.Second
	// late is how long an event may take while processes are replaced.
	late = 30 * time.Second
)

// cast returns the companies of a cluster.
func (o options) cast() []firm {
	if !o.rolling {
		return []firm{{}, {}, {faulty: true}, {load: true}, {load: true, faulty: true}}
	}
	return append(make([]firm, casts), firm{load: true}, firm{load: true})
}

// upgrade runs one rolling upgrade and returns the exit code.
func upgrade(ctx context.Context, o options) int {
	ok, err := o.upgrade(ctx)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	case !ok:
		fmt.Printf("replay: go run ./deploy/test/chaos --rolling --seed %d --old %q; its logs are in %s\n", o.seed, o.old, o.dir)
		return 1
	case !o.keep:
		_ = os.RemoveAll(o.dir)
	}
	return 0
}

func (o options) upgrade(ctx context.Context) (ok bool, err error) {
	began := time.Now()
	p, err := build(ctx, filepath.Join(o.dir, "bin"))
	if err != nil {
		return false, err
	}
	if o.old != "" {
		was, commit, err := older(ctx, filepath.Join(o.dir, "old"), o.old)
		if err != nil {
			return false, err
		}
		p.old = &was
		fmt.Println("old is", commit)
	}
	fmt.Printf("services: %v; built in %v; logs in %s\n", p.services, time.Since(began).Round(time.Second), o.dir)
	cl, err := newCluster(ctx, o, p, o.seed)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, cl.close()) }()
	r := &rolling{cl: cl, rng: rand.New(rand.NewPCG(o.seed, 5))}
	v, err := cl.upgraded(ctx, r)
	if err != nil {
		return false, err
	}
	r.print(os.Stdout, v)
	return v.ok(), nil
}

// upgraded creates requests while r replaces the processes, and returns the verdict.
func (cl *cluster) upgraded(ctx context.Context, r *rolling) (*verdict, error) {
	for _, s := range cl.services {
		s.forgive()
		if s.service == "ingest" {
			cl.balancer.admit(s.listen)
			r.ingests = append(r.ingests, s.listen)
		}
	}
	v := &verdict{seed: cl.seed, nodes: len(cl.nodes)}
	start := time.Now()
	clicking, enough := context.WithCancel(ctx)
	defer enough()
	play := &plays{cl: cl}
	var clickers sync.WaitGroup
	clickers.Go(func() { play.run(ctx, clicking) })
	for _, c := range cl.generators {
		clickers.Go(func() {
			if err := c.run(clicking, time.Hour); err != nil {
				cl.recorder.trouble("the load generator: %v", err)
			}
		})
	}
	sleep(ctx, beside)
	err := r.all(ctx, func(t turn) { fmt.Println(" ", t) })
	v.calm = time.Now()
	enough()
	clickers.Wait()
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	cl.settle(ctx, play.report, patience)
	v.took, v.healed = time.Since(start), time.Since(v.calm)
	report := play.report()
	if err := cl.check(ctx, v, report); err != nil {
		return nil, err
	}
	r.check(v)
	if err := cl.checkIngest(ctx, v); err != nil || cl.programs.old == nil {
		return v, err
	}
	if !cl.programs.old.backups {
		fmt.Println("  the older version makes no backups")
		return v, nil
	}
	for _, s := range cl.services {
		s.program.close()
	}
	return v, cl.backups(ctx)
}

// check adds the failures of the processes to v.
func (r *rolling) check(v *verdict) {
	for _, t := range r.turns {
		if t.err != nil {
			v.wrong = append(v.wrong, t.String())
		}
	}
	if len(v.crashes) > 0 {
		v.wrong = append(v.wrong, fmt.Sprintf("%d processes ended by themselves", len(v.crashes)))
	}
	for _, name := range r.cl.balancer.unused(r.ingests) {
		v.wrong = append(v.wrong, name+" was ready and got no delivery")
	}
}

// checkIngest finds requests that ingest acknowledged and lost. The sweep brought them in, without an event id.
func (cl *cluster) checkIngest(ctx context.Context, v *verdict) error {
	subjects, err := cl.watcher.subjects(ctx, bus.Delivery, "tb."+string(bus.Delivery)+".>")
	if err != nil {
		return err
	}
	s, err := cl.watcher.js.Stream(ctx, bus.Delivery.Stream())
	if err != nil {
		return fmt.Errorf("reading %s: %w", bus.Delivery.Stream(), err)
	}
	for subject := range subjects {
		m, err := s.GetLastMsgForSubject(ctx, subject)
		if err != nil {
			return fmt.Errorf("reading %s: %w", subject, err)
		}
		d := &tiebackv1.Delivery{}
		if err := proto.Unmarshal(m.Data, d); err != nil {
			return fmt.Errorf("decoding %s: %w", subject, err)
		}
		if d.EventId == "" {
			v.lost = append(v.lost, fmt.Sprintf("request %d of company %d was not stored by ingest, but found by the sweep", d.ErpRequestId, d.CompanyId))
		}
	}
	return nil
}

// wait is the time until a request was closed.
type wait struct {
	what string
	from time.Time
	took time.Duration
}

// plays has the scenario of each company.
type plays struct {
	cl    *cluster
	mu    sync.Mutex
	begun []*scenario.Scenario
}

// run starts the scenario of the next company every few seconds while clicking lasts, and returns when all have ended.
func (p *plays) run(ctx, clicking context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	serial := new(atomic.Int64)
	for i, f := range p.cl.firms {
		if f.load || clicking.Err() != nil {
			continue
		}
		play := scenario.New(p.cl.sandbox, scenario.Config{
			ERPs: map[int64]scenario.ERP{f.id: hands{f, serial}}, Seed: p.cl.seed + uint64(i), Scale: 1, Deadline: patience, NoUnclear: true,
		})
		p.mu.Lock()
		p.begun = append(p.begun, play)
		p.mu.Unlock()
		all.Go(func() {
			if err := play.Run(ctx); err != nil {
				p.cl.recorder.trouble("accountants: %v", err)
			}
		})
		sleep(clicking, castsOff)
	}
}

func (p *plays) report() scenario.Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	var sum scenario.Report
	for _, play := range p.begun {
		r := play.Report()
		sum.Events, sum.Lost = append(sum.Events, r.Events...), append(sum.Lost, r.Lost...)
		sum.Wrong, sum.Skipped = append(sum.Wrong, r.Wrong...), append(sum.Skipped, r.Skipped...)
	}
	return sum
}

func (r *rolling) print(out io.Writer, v *verdict) {
	lates, slowest := 0, time.Duration(0)
	for _, cl := range v.waits {
		slowest = max(slowest, cl.took)
		if cl.took > late {
			lates++
			v.trouble = append(v.trouble, fmt.Sprintf("%s waited %.1f s, from %s on", cl.what, cl.took.Seconds(), cl.from.UTC().Format(time.RFC3339Nano)))
		}
	}
	v.details(out)
	longest := slices.MaxFunc(r.turns, func(a, b turn) int { return cmp.Compare(a.drain, b.drain) })
	fmt.Fprintf(out, "rolling, seed %d, %d node(s): %s, %d events, %d of them clicked while something was replaced, %d restarts, %d lost, %d doubled, %d stuck, %d wrong, longest drain %.1f s (%s), "+
		"slowest event %.1f s, %d slower than %v, %d deliveries sent again, %d records compared, in %.0f s\n",
		v.seed, v.nodes, map[bool]string{true: "ok", false: "FAILED"}[v.ok()], v.events, v.underFire, len(r.turns), len(v.lost), len(v.doubled), len(v.stuck), len(v.wrong),
		longest.drain.Seconds(), longest.what, slowest.Seconds(), lates, late, r.cl.balancer.refusals(), v.records, v.took.Seconds())
}
