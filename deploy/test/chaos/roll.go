package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"
)

// rolling is a rolling upgrade as in Kubernetes, one service after the other:
//
//	the new one starts ─▶ /readyz ─▶ both run ─▶ the old one gets SIGTERM ─▶ exit 0 within its grace period
//	ingest, too:          added to the LB         removed from the LB some time before SIGTERM (preStop)
//	status-reporter:      the old one ends first (a StatefulSet of one)
//	a broker node:        lame duck, exit, start, caught up
type rolling struct {
	cl      *cluster
	rng     *rand.Rand
	turns   []turn
	ingests []string // addresses of all instances so far
}

// turn is one replacement.
type turn struct {
	what  string
	into  string        // old, new; "": no versions
	ready time.Duration // until the new one was ready
	drain time.Duration // from the signal to the end
	err   error         // the failure of the end
}

const (
	// beside is the time during which both instances run.
	beside = time.Second
	// preStop is that of ingest. The load balancer removes an instance after half of it.
	preStop   = time.Second
	forgotten = preStop / 2
	// caughtUp is the time in which a new instance or node must be ready.
	caughtUp = time.Minute
	// duckGrace is the time in which a node must end; one client per second leaves it.
	duckGrace = time.Minute
)

// recreated has the services whose last instance ends before the next begins, as their StatefulSets do.
var recreated = []string{"status-reporter", "console"}

// versions of a service.
const (
	oldVersion = "old"
	newVersion = "new"
)

// all replaces everything once. With an older version it replaces old by new, then new by old.
func (r *rolling) all(ctx context.Context, tell func(turn)) error {
	for _, into := range r.rounds() {
		if into == newVersion {
			if err := r.cl.provision(ctx); err != nil {
				return err
			}
		}
		names := make([]string, 0, len(r.cl.services)+len(r.cl.nodes))
		for _, s := range r.cl.services {
			names = append(names, s.service)
		}
		if r.cl.programs.old == nil {
			for _, n := range r.cl.nodes {
				names = append(names, n.name)
			}
		}
		r.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			t, err := r.replace(ctx, name, into)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if t != nil {
				r.turns = append(r.turns, *t)
				tell(*t)
			}
		}
	}
	return nil
}

func (r *rolling) rounds() []string {
	if r.cl.programs.old == nil {
		return []string{""}
	}
	return []string{newVersion, oldVersion}
}

// replace returns nil if the version lacks the service.
func (r *rolling) replace(ctx context.Context, name, into string) (*turn, error) {
	if i := slices.IndexFunc(r.cl.nodes, func(n *node) bool { return n.name == name }); i >= 0 {
		return r.restart(ctx, r.cl.nodes[i])
	}
	if into == oldVersion && !slices.Contains(r.cl.programs.old.services, name) {
		return nil, nil
	}
	i := slices.IndexFunc(r.cl.services, func(s *service) bool { return s.service == name })
	was := r.cl.services[i]
	next, err := r.instance(was, into)
	if err != nil {
		return nil, err
	}
	t := &turn{what: name, into: into}
	if slices.Contains(recreated, name) {
		r.end(ctx, was, t)
		err = r.begin(ctx, next, t)
	} else if err = r.begin(ctx, next, t); err == nil {
		sleep(ctx, beside)
		r.end(ctx, was, t)
	}
	r.cl.services[i] = next
	return t, err
}

// instance returns the next instance of a service, with addresses of its own.
func (r *rolling) instance(was *service, into string) (*service, error) {
	s := &service{service: was.service, generation: was.generation + 1, program: &program{logs: was.logs, env: slices.Clone(was.env)}}
	s.name = fmt.Sprintf("%s-%d", s.service, s.generation)
	s.path = r.cl.programs.service(s.service, into)
	var err error
	if s.admin, err = r.cl.ports.take(); err != nil {
		return nil, err
	}
	if s.listen, err = r.cl.ports.take(); err != nil {
		return nil, err
	}
	s.env = append(s.env, "TIEBACK_ADMIN_ADDR="+s.admin, "TIEBACK_INGEST_ADDR="+s.listen) // the last value of a variable counts
	return s, nil
}

func (r *rolling) begin(ctx context.Context, s *service, t *turn) error {
	began := time.Now()
	if err := s.start(ctx); err != nil {
		return err
	}
	err := r.cl.until(ctx, caughtUp, func() error {
		if !s.ready() {
			return fmt.Errorf("not ready: see %s", s.log())
		}
		return nil
	})
	if t.ready = time.Since(began); err == nil && s.service == "ingest" {
		r.cl.balancer.admit(s.listen)
		r.ingests = append(r.ingests, s.listen)
	}
	return err
}

func (r *rolling) end(ctx context.Context, s *service, t *turn) {
	if s.service == "ingest" {
		sleep(ctx, forgotten)
		r.cl.balancer.dismiss(s.listen)
		sleep(ctx, preStop-forgotten)
	}
	t.drain, t.err = s.retire(syscall.SIGTERM, grace)
	if c := s.crashed(); len(c) > 0 {
		t.err = errors.Join(t.err, fmt.Errorf("had ended before: %v", c))
	}
}

// restart restarts a node as the official chart does: lame duck mode, then a start.
func (r *rolling) restart(ctx context.Context, n *node) (*turn, error) {
	t := &turn{what: n.name}
	t.drain, t.err = n.program.retire(syscall.SIGUSR2, duckGrace)
	began := time.Now()
	if err := n.program.start(ctx); err != nil {
		return nil, err
	}
	err := r.cl.until(ctx, caughtUp, func() error {
		if !n.healthy() {
			return fmt.Errorf("not healthy: see %s", n.program.log())
		}
		return nil
	})
	t.ready = time.Since(began)
	return t, err
}

func (t turn) String() string {
	s := strings.TrimSpace(fmt.Sprintf("%-16s %s", t.what, t.into))
	s += fmt.Sprintf(": ready after %.1f s, ended %.1f s after the signal", t.ready.Seconds(), t.drain.Seconds())
	if t.err != nil {
		s += ": " + t.err.Error()
	}
	return s
}
