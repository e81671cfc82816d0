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

// actions start each kind of fault. Each returns a function that ends the fault, or nil if it ends by itself.
var actions = map[string]func(*cluster, fault) (undo func(), err error){
	"kill a service":           (*cluster).kill,
	"kill a broker node":       (*cluster).kill,
	"kill the ERP":             (*cluster).kill,
	"pause a service":          (*cluster).pause,
	"pause a broker node":      (*cluster).pause,
	"pause the ERP":            (*cluster).pause,
	"cut off a broker node":    (*cluster).cutOff,
	"cut a link":               func(cl *cluster, f fault) (func(), error) { return cl.link(f).cut(), nil },
	"slow a link":              func(cl *cluster, f fault) (func(), error) { return cl.link(f).poison(latency(seconds(f.Amount))) },
	"narrow a link":            func(cl *cluster, f fault) (func(), error) { return cl.link(f).poison(narrow(1 + int(f.Amount))) },
	"hang a link":              func(cl *cluster, f fault) (func(), error) { return cl.link(f).poison(hanging) },
	"lose a link's answers":    func(cl *cluster, f fault) (func(), error) { return cl.link(f).poison(lostAnswers) },
	"reset a link":             func(cl *cluster, f fault) (func(), error) { return cl.link(f).poison(resetting) },
	"Procore: 429":             rule(sandbox.FaultRule{Kind: sandbox.FaultStatus, Status: 429, RetryAfter: 2}),
	"Procore: 500":             rule(sandbox.FaultRule{Kind: sandbox.FaultStatus, Status: 500}),
	"Procore: 503":             rule(sandbox.FaultRule{Kind: sandbox.FaultStatus, Status: 503}),
	"Procore hangs":            rule(sandbox.FaultRule{Kind: sandbox.FaultHang}),
	"Procore resets":           rule(sandbox.FaultRule{Kind: sandbox.FaultReset}),
	"Procore loses answers":    rule(sandbox.FaultRule{Kind: sandbox.FaultLoseAnswer}),
	"Procore expires tokens":   rule(sandbox.FaultRule{Kind: sandbox.FaultExpire}),
	"Procore drops deliveries": (*cluster).drop,
	"Procore's clock jumps":    (*cluster).jump,
	"ERP: 429":                 failing("busy"),
	"ERP: 500":                 failing("broken"),
	"ERP hangs":                failing("hangs"),
	"ERP loses answers":        failing("loses"),
	"full disk":                (*cluster).fill,
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (cl *cluster) kill(f fault) (func(), error) {
	cl.program(f.Target).kill(f.For)
	return nil, nil
}

func (cl *cluster) pause(f fault) (func(), error) {
	p := cl.program(f.Target)
	p.pause()
	return p.resume, nil
}

func (cl *cluster) link(f fault) *link {
	i := slices.IndexFunc(cl.network.links, func(l *link) bool { return l.name == f.Target })
	return cl.network.links[i]
}

// cutOff leaves a node without its neighbours and without clients.
func (cl *cluster) cutOff(f fault) (func(), error) {
	var undo []func()
	for _, l := range cl.network.links {
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

func rule(r sandbox.FaultRule) func(*cluster, fault) (func(), error) {
	return func(cl *cluster, f fault) (func(), error) {
		r.Seconds, r.Fraction = f.For.Seconds(), f.Amount
		r.CompanyID, _ = strconv.ParseInt(f.Target, 10, 64) // "all": 0
		return nil, cl.sandbox.Fail(r)
	}
}

// drop discards all waiting deliveries, as Procore does after 12 hours without a 2xx. So that some wait, it cuts ingest off
// first.
func (cl *cluster) drop(fault) (func(), error) {
	i := slices.IndexFunc(cl.network.links, func(l *link) bool { return l.from == "procore" })
	heal := cl.network.links[i].cut()
	return func() {
		cl.sandbox.DropDeliveries()
		heal()
	}, nil
}

func (cl *cluster) jump(f fault) (func(), error) {
	cl.sandbox.SkewServerClocks(seconds(f.Amount))
	return func() { cl.sandbox.SkewServerClocks(0) }, nil
}

func failing(how string) func(*cluster, fault) (func(), error) {
	return func(cl *cluster, f fault) (func(), error) {
		cl.erp.proxy.set(mode{how, f.Amount})
		return func() { cl.erp.proxy.set(mode{}) }, nil
	}
}

// fill fills a disk and frees it. A broker node whose disk was full refuses to write to a stream until it is restarted; the
// operator must do that, so fill does.
func (cl *cluster) fill(f fault) (func(), error) {
	if f.Target == "ledger" {
		return cl.erp.disk.fill()
	}
	for _, n := range cl.nodes {
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
				cl.recorder.note("restart after a full disk", n.name)
				n.program.kill(0)
			}
		}, nil
	}
	return nil, fmt.Errorf("no disk of %s", f.Target)
}

// act starts each fault of a plan at its time and returns when the last has ended. When ctx ends it ends all of them.
func (cl *cluster) act(ctx context.Context, plan []fault) {
	start := time.Now()
	var all sync.WaitGroup
	for _, f := range plan {
		all.Go(func() {
			if !sleep(ctx, f.At-time.Since(start)) {
				return
			}
			cl.recorder.note(f.Kind, f.Target)
			undo, err := actions[f.Kind](cl, f)
			if err != nil {
				cl.recorder.trouble("%s of %s: %v", f.Kind, f.Target, err)
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
