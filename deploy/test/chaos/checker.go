package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/sandbox/scenario"
	"github.com/tieback/tieback/services/tieback/demo"
)

// verdict is the result of a seed.
//
//	lost     a request of Procore that the pipeline neither closed nor dead-lettered
//	stuck    a request that the pipeline has and Procore shows as open, or a message that is never finished
//	doubled  two bookings of one record, two outcomes of one request, or two messages of one subject
//	wrong    reported wrongly: a success whose record does not exist, or a failure without a cause
type verdict struct {
	seed      uint64
	nodes     int
	took      time.Duration
	healed    time.Duration // from the end of the faults until all requests were closed
	calm      time.Time     // end of the faults
	plan      []fault
	events    int
	underFire int // requests created before the faults ended
	calls     int64
	spent     int      // calls answered 429
	records   int      // records compared with the books of the ERP
	crashes   []string // processes that ended by themselves
	waits     []wait   // of the closed requests

	lost, stuck, doubled, wrong, trouble []string
	faults                               map[string]int
	recovery                             map[string]time.Duration
	recoveries                           int
}

func (v *verdict) ok() bool { return len(v.lost)+len(v.stuck)+len(v.doubled)+len(v.wrong) == 0 }

// patience is the time after the faults in which everything must be closed.
const patience = 90 * time.Second

// run runs one seed from its first request to its verdict.
func (cl *cluster) run(ctx context.Context, o options) (*verdict, error) {
	v := &verdict{seed: cl.seed, nodes: len(cl.nodes), plan: draw(cl.seed, cl.targets(), o.faults, o.window)}
	start := time.Now()
	var generators sync.WaitGroup
	for _, c := range cl.generators {
		generators.Go(func() {
			if err := c.run(ctx, o.window); err != nil {
				cl.recorder.trouble("the load generator: %v", err)
			}
		})
	}
	acting, heal := context.WithTimeout(ctx, o.window+4*time.Second)
	defer heal()
	healed := make(chan time.Time, 1)
	cl.owned.Go(func() {
		cl.act(acting, v.plan)
		cl.sandbox.Heal()
		healed <- time.Now()
	})
	play := scenario.New(cl.sandbox, cl.playing(o))
	overdue, ended := cl.untilOverdue(ctx, play, o.window+patience)
	err := play.Run(overdue)
	ended()
	generators.Wait()
	heal()
	v.calm = <-healed
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil { // most likely overdue
		v.trouble = append(v.trouble, err.Error())
	}
	cl.settle(ctx, play.Report, max(10*time.Second, patience-time.Since(v.calm)))
	v.took, v.healed = time.Since(start), time.Since(v.calm)
	return v, cl.check(ctx, v, play.Report())
}

// untilOverdue returns a context that ends when an event of the scenario is overdue: the others would wait as long.
func (cl *cluster) untilOverdue(ctx context.Context, play *scenario.Scenario, limit time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	cl.owned.Go(func() {
		for sleep(ctx, time.Second) {
			for _, row := range play.Report().Lost {
				if time.Since(row.Clicked) > limit {
					cancel(fmt.Errorf("request %d is overdue", row.RequestID))
				}
			}
		}
	})
	return ctx, func() { cancel(nil) }
}

func (cl *cluster) playing(o options) scenario.Config {
	c := scenario.Config{ERPs: map[int64]scenario.ERP{}, Seed: cl.seed, Scale: o.events, Deadline: o.window + patience}
	serial := new(atomic.Int64)
	for _, f := range cl.firms {
		if f.load {
			continue
		}
		c.ERPs[f.id] = hands{f, serial}
	}
	return c
}

// settle waits until no request is open and no consumer has work left, at most limit.
func (cl *cluster) settle(ctx context.Context, play func() scenario.Report, limit time.Duration) {
	_ = cl.until(ctx, limit, func() error {
		if n := len(play().Lost); n > 0 {
			return fmt.Errorf("%d requests are open", n)
		}
		for _, c := range cl.generators {
			for _, k := range c.clicks {
				if r, _ := cl.sandbox.Request(k.request); !r.IsClosed() {
					return fmt.Errorf("request %d is open", k.request)
				}
			}
		}
		if open, known := cl.open(ctx, ""); !known || len(open) > 0 {
			return fmt.Errorf("consumers have work: %v", open)
		}
		return nil
	}) // check reports what is still open
	time.Sleep(300 * time.Millisecond) // for the watcher to read the last messages
}

func (cl *cluster) check(ctx context.Context, v *verdict, r scenario.Report) error {
	v.calls = cl.sandbox.TotalCalls()
	for _, c := range cl.sandbox.Calls() {
		if c.Status == http.StatusTooManyRequests {
			v.spent++
		}
	}
	cl.checkScenario(v, r)
	for _, c := range cl.generators {
		if err := c.check(ctx, v); err != nil {
			return fmt.Errorf("the load generator of company %d: %w", c.firm.id, err)
		}
	}
	open, known := cl.open(ctx, "")
	for _, consumer := range open {
		v.stuck = append(v.stuck, "consumer "+consumer)
	}
	if !known {
		v.stuck = append(v.stuck, "the broker does not say what is to be done")
	}
	for _, name := range cl.recorder.unrecovered() {
		v.stuck = append(v.stuck, name+" was started again and did not recover")
	}
	for _, p := range cl.all() {
		v.crashes = append(v.crashes, p.crashed()...)
	}
	if err := cl.twice(ctx, v); err != nil {
		return err
	}
	cl.recorder.tell(v)
	return cl.held(ctx, v, r.Events)
}

func (cl *cluster) checkScenario(v *verdict, r scenario.Report) {
	for _, row := range r.Events {
		req, _ := cl.sandbox.Request(row.RequestID)
		cl.checkRequest(v, req)
		if row.DeadLettered && row.Expected == scenario.Succeeds {
			v.wrong = append(v.wrong, describe(req)+": was dead-lettered")
		}
	}
	for _, row := range r.Wrong {
		v.wrong = append(v.wrong, fmt.Sprintf("request %d, %s of company %d: meant %q, is %q: %s %s", row.RequestID, row.Type, row.CompanyID, row.Expected, row.Outcome,
			strings.Join(row.Messages, " "), strings.Join(row.TooEarly, " ")))
	}
	for _, why := range r.Skipped {
		v.wrong = append(v.wrong, "not pressed: "+why)
	}
	for _, why := range cl.sandbox.Violations() {
		v.wrong = append(v.wrong, "not as Procore publishes: "+why)
	}
}

func describe(r sandbox.Request) string {
	return fmt.Sprintf("request %d, %s of company %d", r.ID, r.EventType, r.CompanyID)
}

// checkRequest compares the status of a request in Procore with the messages of the pipeline.
func (cl *cluster) checkRequest(v *verdict, r sandbox.Request) {
	v.events++
	if r.Clicked.Before(v.calm) {
		v.underFire++
	}
	if r.IsClosed() {
		v.waits = append(v.waits, wait{describe(r), r.Clicked, r.Closed.Sub(r.Clicked)})
	}
	closed, dead := cl.watcher.heard(cl.watcher.closed, r.ID), cl.watcher.heard(cl.watcher.dead, r.ID)
	what := describe(r)
	switch {
	case !r.IsClosed() && closed+dead == 0 && !cl.known(r.ID):
		v.lost = append(v.lost, what+": the pipeline has no message of it")
	case !r.IsClosed():
		v.stuck = append(v.stuck, fmt.Sprintf("%s: clicked at %s, not closed in Procore; closed messages: %d, dead letters: %d",
			what, r.Clicked.UTC().Format(time.RFC3339Nano), closed, dead))
	case closed == 0:
		v.lost = append(v.lost, what+": is closed in Procore, and the pipeline has no record of it")
	case closed > 1:
		v.doubled = append(v.doubled, fmt.Sprintf("%s: was reported %d times", what, closed))
	}
}

// known reports whether the pipeline has a delivery of the request.
func (cl *cluster) known(request int64) bool {
	info, err := cl.watcher.subjects(context.Background(), bus.Delivery, fmt.Sprintf("tb.%s.*.*.*.%d", bus.Delivery, request))
	return err == nil && len(info) > 0
}

// twice finds subjects with more than one message; each must have one at most.
func (cl *cluster) twice(ctx context.Context, v *verdict) error {
	for _, k := range bus.Kinds {
		if k == bus.Dead {
			continue
		}
		subjects, err := cl.watcher.subjects(ctx, k, "tb."+string(k)+".>")
		if err != nil {
			return err
		}
		for _, subject := range slices.Sorted(maps.Keys(subjects)) {
			if n := subjects[subject]; n > 1 {
				v.doubled = append(v.doubled, fmt.Sprintf("%s has %d messages", subject, n))
			}
		}
	}
	return nil
}

// held compares each company's books with what Procore exported.
func (cl *cluster) held(ctx context.Context, v *verdict, rows []scenario.Event) error {
	for _, f := range cl.firms {
		own := slices.DeleteFunc(slices.Clone(rows), func(r scenario.Event) bool { return r.CompanyID != f.id || r.Outcome == "" })
		h, err := demo.CompareBooks(ctx, f.books, f.id, own, cl.sandbox)
		if err != nil {
			return fmt.Errorf("reading the books of company %d: %w", f.id, err)
		}
		v.records += h.Records
		v.doubled = append(v.doubled, h.Doubled...)
		v.wrong = append(v.wrong, h.Differ...)
	}
	return nil
}
