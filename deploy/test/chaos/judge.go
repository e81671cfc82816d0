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
	"github.com/tieback/tieback/services/sandbox/accountants"
	"github.com/tieback/tieback/services/tieback/demo"
)

// verdict is how a seed went.
//
//	lost     Procore created it, and the pipeline says nothing of it: neither closed nor dead-lettered
//	stuck    the pipeline knows it, and its button is still busy; or a message is never done
//	doubled  two live bookings of one record, two stories of one request, two messages of a subject
//	wrong    told otherwise than it is: a success whose record is not there, a failure that is none
type verdict struct {
	seed      uint64
	nodes     int
	took      time.Duration
	healed    time.Duration // from the heal until all was closed
	calm      time.Time     // when all was healed
	plan      []blow
	events    int
	underFire int // clicked before the heal
	calls     int64
	spent     int      // calls answered 429
	records   int      // compared with the ERP's books
	crashes   []string // processes that ended by themselves
	waits     []wait   // of what was closed

	lost, stuck, doubled, wrong, trouble []string
	faults                               map[string]int
	recovery                             map[string]time.Duration
	recoveries                           int
}

func (v *verdict) ok() bool { return len(v.lost)+len(v.stuck)+len(v.doubled)+len(v.wrong) == 0 }

// patience is how long after the heal everything must be closed.
const patience = 90 * time.Second

// judged is one seed from its first click to its verdict.
func (w *world) judged(ctx context.Context, o options) (*verdict, error) {
	v := &verdict{seed: w.seed, nodes: len(w.nodes), plan: draw(w.seed, w.targets(), o.faults, o.window)}
	start := time.Now()
	var crowds sync.WaitGroup
	for _, c := range w.crowds {
		crowds.Go(func() {
			if err := c.run(ctx, o.window); err != nil {
				w.watch.trouble("the crowd: %v", err)
			}
		})
	}
	acting, heal := context.WithTimeout(ctx, o.window+4*time.Second)
	defer heal()
	healed := make(chan time.Time, 1)
	w.owned.Go(func() {
		w.act(acting, v.plan)
		w.sandbox.Heal()
		healed <- time.Now()
	})
	play := accountants.New(w.sandbox, w.playing(o))
	overdue, ended := w.untilOverdue(ctx, play, o.window+patience)
	err := play.Run(overdue)
	ended()
	crowds.Wait()
	heal()
	v.calm = <-healed
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil { // most likely overdue
		v.trouble = append(v.trouble, err.Error())
	}
	w.settle(ctx, play.Report, max(10*time.Second, patience-time.Since(v.calm)))
	v.took, v.healed = time.Since(start), time.Since(v.calm)
	return v, w.judge(ctx, v, play.Report())
}

// untilOverdue ends the play when one of its events is overdue: all others would only wait as well.
func (w *world) untilOverdue(ctx context.Context, play *accountants.Play, limit time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.owned.Go(func() {
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

func (w *world) playing(o options) accountants.Config {
	c := accountants.Config{ERPs: map[int64]accountants.ERP{}, Seed: w.seed, Scale: o.events, Deadline: o.window + patience}
	serial := new(atomic.Int64)
	for _, f := range w.firms {
		if f.crowd {
			continue
		}
		c.ERPs[f.id] = hands{f, serial}
	}
	return c
}

// settle waits until no request is open and no message is to be done, or time is up.
func (w *world) settle(ctx context.Context, play func() accountants.Report, limit time.Duration) {
	_ = w.until(ctx, limit, func() error {
		if n := len(play().Lost); n > 0 {
			return fmt.Errorf("%d are open", n)
		}
		for _, c := range w.crowds {
			for _, k := range c.clicks {
				if r, _ := w.sandbox.Request(k.request); !r.IsClosed() {
					return fmt.Errorf("%d is open", k.request)
				}
			}
		}
		if open, known := w.open(ctx, ""); !known || len(open) > 0 {
			return fmt.Errorf("to be done: %v", open)
		}
		return nil
	}) // what is open now is told by judge
	time.Sleep(300 * time.Millisecond) // for the ear to hear the last
}

func (w *world) judge(ctx context.Context, v *verdict, r accountants.Report) error {
	v.calls = w.sandbox.TotalCalls()
	for _, c := range w.sandbox.Calls() {
		if c.Status == http.StatusTooManyRequests {
			v.spent++
		}
	}
	w.judgePlay(v, r)
	for _, c := range w.crowds {
		if err := c.judge(ctx, v); err != nil {
			return fmt.Errorf("the crowd of company %d: %w", c.firm.id, err)
		}
	}
	open, known := w.open(ctx, "")
	for _, consumer := range open {
		v.stuck = append(v.stuck, "consumer "+consumer)
	}
	if !known {
		v.stuck = append(v.stuck, "the broker does not say what is to be done")
	}
	for _, name := range w.watch.unrecovered() {
		v.stuck = append(v.stuck, name+" was started again and did not recover")
	}
	for _, p := range w.all() {
		v.crashes = append(v.crashes, p.crashed()...)
	}
	if err := w.twice(ctx, v); err != nil {
		return err
	}
	w.watch.tell(v)
	return w.held(ctx, v, r.Rows)
}

func (w *world) judgePlay(v *verdict, r accountants.Report) {
	for _, row := range r.Rows {
		req, _ := w.sandbox.Request(row.RequestID)
		w.judgeRequest(v, req)
		if row.DeadLettered && row.Expected == accountants.Succeeds {
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
	for _, why := range w.sandbox.Violations() {
		v.wrong = append(v.wrong, "not as Procore publishes: "+why)
	}
}

func describe(r sandbox.Request) string {
	return fmt.Sprintf("request %d, %s of company %d", r.ID, r.EventType, r.CompanyID)
}

// judgeRequest holds what Procore shows of a request against what the pipeline says of it.
func (w *world) judgeRequest(v *verdict, r sandbox.Request) {
	v.events++
	if r.Clicked.Before(v.calm) {
		v.underFire++
	}
	if r.IsClosed() {
		v.waits = append(v.waits, wait{describe(r), r.Clicked, r.Closed.Sub(r.Clicked)})
	}
	closed, dead := w.ear.heard(w.ear.closed, r.ID), w.ear.heard(w.ear.dead, r.ID)
	what := describe(r)
	switch {
	case !r.IsClosed() && closed+dead == 0 && !w.known(r.ID):
		v.lost = append(v.lost, what+": the pipeline never heard of it")
	case !r.IsClosed():
		v.stuck = append(v.stuck, fmt.Sprintf("%s: clicked at %s, not closed in Procore; closed messages: %d, dead letters: %d",
			what, r.Clicked.UTC().Format(time.RFC3339Nano), closed, dead))
	case closed == 0:
		v.lost = append(v.lost, what+": is closed in Procore, and the pipeline has no record of it")
	case closed > 1:
		v.doubled = append(v.doubled, fmt.Sprintf("%s: was told %d times", what, closed))
	}
}

// known says whether the pipeline has a delivery of the request.
func (w *world) known(request int64) bool {
	info, err := w.ear.subjects(context.Background(), bus.Delivery, fmt.Sprintf("tb.%s.*.*.*.%d", bus.Delivery, request))
	return err == nil && len(info) > 0
}

// twice looks for a subject with two messages: each is meant to have one for ever.
func (w *world) twice(ctx context.Context, v *verdict) error {
	for _, k := range bus.Kinds {
		if k == bus.Dead {
			continue
		}
		subjects, err := w.ear.subjects(ctx, k, "tb."+string(k)+".>")
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
func (w *world) held(ctx context.Context, v *verdict, rows []accountants.Row) error {
	for _, f := range w.firms {
		own := slices.DeleteFunc(slices.Clone(rows), func(r accountants.Row) bool { return r.CompanyID != f.id || r.Outcome == "" })
		h, err := demo.Hold(ctx, f.books, f.id, own, w.sandbox)
		if err != nil {
			return fmt.Errorf("reading the books of company %d: %w", f.id, err)
		}
		v.records += h.Records
		v.doubled = append(v.doubled, h.Doubled...)
		v.wrong = append(v.wrong, h.Differ...)
	}
	return nil
}
