package main

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/bus"
)

// recorder counts the faults and measures recoveries: from the start of a killed process until it finishes its first work, or
// until it is ready and has nothing to do.
type recorder struct {
	cl      *cluster
	mu      sync.Mutex
	faults  map[string]int // by kind
	waiting map[string]restart
	took    map[string]time.Duration // the longest, by process
	many    int                      // recoveries
	errs    []string
}

type restart struct {
	at        time.Time
	recovered func(context.Context) bool
}

func newRecorder(cl *cluster) *recorder {
	return &recorder{cl: cl, faults: map[string]int{}, waiting: map[string]restart{}, took: map[string]time.Duration{}}
}

func (v *recorder) note(kind, _ string) {
	v.mu.Lock()
	v.faults[kind]++
	v.mu.Unlock()
}

func (v *recorder) trouble(format string, args ...any) {
	v.mu.Lock()
	v.errs = append(v.errs, fmt.Sprintf(format, args...))
	v.mu.Unlock()
}

func (v *recorder) started(name string, recovered func(context.Context) bool) {
	v.mu.Lock()
	v.waiting[name] = restart{time.Now(), recovered}
	v.mu.Unlock()
}

func (v *recorder) restarted(s *service) {
	v.started(s.name, func(ctx context.Context) bool { return s.ready() && v.worked(ctx, s) })
}

func (v *recorder) restartedERP(*erp) { v.started("ledger", v.cl.booksOpen) }

// worked reports whether a service has finished a message since its start, or has nothing to do.
func (v *recorder) worked(ctx context.Context, s *service) bool {
	if n, ok := s.finished(); ok && n > 0 {
		return true
	}
	open, known := v.cl.open(ctx, s.name)
	return known && len(open) == 0
}

// open describes the consumers of a service ("": of all) that have unfinished messages. A service without a consumer has none.
// known is false if the broker does not answer.
func (cl *cluster) open(ctx context.Context, service string) (open []string, known bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, k := range bus.Kinds {
		s, err := cl.watcher.js.Stream(ctx, k.Stream())
		if err != nil {
			return nil, false
		}
		list := s.ListConsumers(ctx)
		for c := range list.Info() {
			mine := c.Config.Durable != "" && (service == "" || c.Name == service) // others are of scans
			if mine && c.NumPending+uint64(c.NumAckPending) > 0 {
				open = append(open, fmt.Sprintf("%s of %s: %d to come, %d in hand, done up to %d", c.Name, c.Stream, c.NumPending, c.NumAckPending, c.AckFloor.Stream))
			}
		}
		if list.Err() != nil {
			return nil, false
		}
	}
	return open, true
}

// run checks several times per second which processes have recovered.
func (v *recorder) run(ctx context.Context) {
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		v.mu.Lock()
		waiting := maps.Clone(v.waiting)
		v.mu.Unlock()
		for name, r := range waiting {
			if r.recovered(ctx) {
				v.recovered(name, r)
			}
		}
	}
}

func (v *recorder) recovered(name string, r restart) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waiting[name].at != r.at { // it was killed again
		return
	}
	delete(v.waiting, name)
	v.many++
	v.took[name] = max(v.took[name], time.Since(r.at))
}

// unrecovered returns the processes that were restarted and did not recover.
func (v *recorder) unrecovered() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []string
	for name := range v.waiting {
		out = append(out, name)
	}
	return out
}

// tell adds the observations to a verdict.
func (v *recorder) tell(to *verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	to.faults, to.recovery, to.recoveries = maps.Clone(v.faults), maps.Clone(v.took), v.many
	to.trouble = append(to.trouble, v.errs...)
}
