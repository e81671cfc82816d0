package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tieback/tieback/services/sandbox"
)

// actions turn a blow into deeds; each answers how to undo it, nil where it ends by itself.
var actions = map[string]func(*world, blow) (undo func(), err error){
	"kill a service":           (*world).kill,
	"kill a broker node":       (*world).kill,
	"kill the ERP":             (*world).kill,
	"pause a service":          (*world).pause,
	"pause a broker node":      (*world).pause,
	"pause the ERP":            (*world).pause,
	"cut off a broker node":    (*world).cutOff,
	"cut a link":               func(w *world, f blow) (func(), error) { return w.link(f).cut(), nil },
	"slow a link":              func(w *world, f blow) (func(), error) { return w.link(f).poison(latency(seconds(f.Amount))) },
	"narrow a link":            func(w *world, f blow) (func(), error) { return w.link(f).poison(narrow(1 + int(f.Amount))) },
	"hang a link":              func(w *world, f blow) (func(), error) { return w.link(f).poison(hanging) },
	"lose a link's answers":    func(w *world, f blow) (func(), error) { return w.link(f).poison(lostAnswers) },
	"reset a link":             func(w *world, f blow) (func(), error) { return w.link(f).poison(resetting) },
	"Procore: 429":             rule(sandbox.FaultRule{Kind: sandbox.FaultStatus, Status: 429, RetryAfter: 2}),
	"Procore: 500":             rule(sandbox.FaultRule{Kind: sandbox.FaultStatus, Status: 500}),
	"Procore: 503":             rule(sandbox.FaultRule{Kind: sandbox.FaultStatus, Status: 503}),
	"Procore hangs":            rule(sandbox.FaultRule{Kind: sandbox.FaultHang}),
	"Procore resets":           rule(sandbox.FaultRule{Kind: sandbox.FaultReset}),
	"Procore loses answers":    rule(sandbox.FaultRule{Kind: sandbox.FaultLoseAnswer}),
	"Procore expires tokens":   rule(sandbox.FaultRule{Kind: sandbox.FaultExpire}),
	"Procore drops deliveries": (*world).drop,
	"Procore's clock jumps":    (*world).jump,
	"ERP: 429":                 moody("busy"),
	"ERP: 500":                 moody("broken"),
	"ERP hangs":                moody("hangs"),
	"ERP loses answers":        moody("loses"),
	"full disk":                (*world).fill,
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (w *world) kill(f blow) (func(), error) {
	w.program(f.Target).kill(f.For)
	return nil, nil
}

func (w *world) pause(f blow) (func(), error) {
	p := w.program(f.Target)
	p.pause()
	return p.resume, nil
}

func (w *world) link(f blow) *link {
	i := slices.IndexFunc(w.network.links, func(l *link) bool { return l.name == f.Target })
	return w.network.links[i]
}

// cutOff leaves a node without its neighbours and without clients.
func (w *world) cutOff(f blow) (func(), error) {
	var undo []func()
	for _, l := range w.network.links {
		if l.from == f.Target || l.to == f.Target {
			undo = append(undo, l.cut())
		}
	}
	return func() {
		for _, u := range undo {
			u()
		}
	}, nil
}

func rule(r sandbox.FaultRule) func(*world, blow) (func(), error) {
	return func(w *world, f blow) (func(), error) {
		r.Seconds, r.Fraction = f.For.Seconds(), f.Amount
		r.CompanyID, _ = strconv.ParseInt(f.Target, 10, 64) // "all": 0
		return nil, w.sandbox.Fail(r)
	}
}

// drop is what Procore does after 12 hours without a 2xx: all deliveries that wait are discarded. For
// some to wait, ingest is cut off a while first.
func (w *world) drop(blow) (func(), error) {
	i := slices.IndexFunc(w.network.links, func(l *link) bool { return l.from == "procore" })
	heal := w.network.links[i].cut()
	return func() {
		w.sandbox.DropDeliveries()
		heal()
	}, nil
}

func (w *world) jump(f blow) (func(), error) {
	w.sandbox.JumpServers(seconds(f.Amount))
	return func() { w.sandbox.JumpServers(0) }, nil
}

func moody(how string) func(*world, blow) (func(), error) {
	return func(w *world, f blow) (func(), error) {
		w.erp.front.set(mood{how, f.Amount})
		return func() { w.erp.front.set(mood{}) }, nil
	}
}

// fill fills a disk, and frees it. A broker node keeps refusing to write to a stream whose
// disk was full once, until it is started again, which is the operator's to do.
func (w *world) fill(f blow) (func(), error) {
	if f.Target == "ledger" {
		return w.erp.disk.fill()
	}
	for _, n := range w.nodes {
		if n.name != f.Target {
			continue
		}
		free, err := n.disk.fill()
		if err != nil {
			return nil, err
		}
		return func() {
			free()
			if n.program.logged("ritical write error") {
				w.watch.note("restart after a full disk", n.name)
				n.program.kill(0)
			}
		}, nil
	}
	return nil, fmt.Errorf("no disk of %s", f.Target)
}

// act does all faults of a plan at their time and returns when the last is undone, or ctx ends: then
// all are undone at once.
func (w *world) act(ctx context.Context, plan []blow) {
	start := time.Now()
	var all sync.WaitGroup
	for _, f := range plan {
		all.Go(func() {
			if !sleep(ctx, f.At-time.Since(start)) {
				return
			}
			w.watch.note(f.Kind, f.Target)
			undo, err := actions[f.Kind](w, f)
			if err != nil {
				w.watch.trouble("%s of %s: %v", f.Kind, f.Target, err)
			}
			if undo == nil {
				return
			}
			sleep(ctx, f.For)
			undo()
		})
	}
	all.Wait()
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
