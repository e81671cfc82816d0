package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/services/sandbox"
)

// cluster is the system under test of one seed: its processes, the links between them, and the parts that do not fail.
//
//	sandbox ─▶ ingest          each connection between two parts is a link of its own,
//	services ─▶ broker         and so is each direction between two broker nodes
//	services ─▶ sandbox
//	services ─▶ [fault proxy ─▶] ledger
//
// The sandbox (Procore) runs in this process; the checker compares the pipeline with it.
type cluster struct {
	seed       uint64
	dir        string
	logs       string
	programs   programs
	ports      *ports
	network    *network
	nodes      []*node
	services   []*service
	erp        *erp
	sandbox    *sandbox.Sandbox
	procore    string // the sandbox's address
	firms      []*firm
	generators []*loadGenerator
	cast       []firm        // the kinds of companies
	keys       string        // folder of the broker keys; "": there are none
	balancer   *loadBalancer // of ingest; nil: one instance, over a link
	watcher    *watcher
	recorder   *recorder

	stop   context.CancelFunc
	owned  sync.WaitGroup
	server *http.Server
}

// firm is a company in Procore.
type firm struct {
	id           int64
	clientID     string
	clientSecret string
	webhookToken string
	costCodeList int64
	load         bool             // a load generator uses it; the others run the scenario
	faulty       bool             // its ERP is behind the fault proxy
	books        connector.Driver // for changes in the ERP, not over a link
}

// speed shortens an hour of Procore's limits and retries to a minute.
const speed = 60

// newCluster starts the cluster and waits until it is ready.
func newCluster(ctx context.Context, o options, p programs, seed uint64) (cl *cluster, err error) {
	cl = &cluster{seed: seed, programs: p, ports: o.ports, network: newNetwork(o.ports), cast: o.cast(), dir: filepath.Join(o.dir, fmt.Sprintf("seed-%d", seed))}
	cl.logs = filepath.Join(cl.dir, "logs")
	if err := os.MkdirAll(cl.logs, 0o755); err != nil {
		return nil, err
	}
	if o.rolling {
		if cl.balancer, err = openLoadBalancer(o.ports); err != nil {
			return nil, err
		}
	}
	ctx, cl.stop = context.WithCancel(ctx)
	for _, step := range []func(context.Context) error{
		cl.newKeys,
		func(context.Context) error { return cl.newNodes(o.nodesOf(seed)) },
		cl.openSandbox, cl.openERP, cl.newServices, cl.begin,
	} {
		if err := step(ctx); err != nil {
			cl.close()
			return nil, err
		}
	}
	return cl, nil
}

// openSandbox starts the simulated Procore with its companies.
func (cl *cluster) openSandbox(ctx context.Context) error {
	cl.sandbox = sandbox.New(sandbox.Config{
		Speed: speed, Seed: cl.seed, APIVersion: sandbox.Rotate, CallLog: 50_000,
		DuplicateFraction: 0.1, LateFraction: 0.1, LateBy: 1500 * time.Millisecond,
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	cl.procore = l.Addr().String()
	cl.server = &http.Server{Handler: cl.sandbox.Handler(), ReadHeaderTimeout: 5 * time.Second}
	cl.owned.Go(func() { _ = cl.server.Serve(l) })
	for i, kind := range cl.cast {
		f := &kind
		f.id, f.clientID, f.costCodeList = 598134325841112+1000*int64(i), fmt.Sprintf("client-%d", i), int64(i)+2
		f.clientSecret, f.webhookToken = rand.Text(), rand.Text()
		cl.firms = append(cl.firms, f)
		if f.load {
			cl.generators = append(cl.generators, &loadGenerator{cl: cl, firm: f, rng: mathrand.New(mathrand.NewPCG(cl.seed, uint64(i)))})
		}
	}
	cl.owned.Go(func() { _ = cl.sandbox.Run(ctx) })
	return nil
}

// connect adds the companies with their webhooks. ingest must have a link.
func (cl *cluster) connect(ingest string) error {
	for _, f := range cl.firms {
		err := cl.sandbox.AddCompany(sandbox.Company{
			ID: f.id, Name: fmt.Sprintf("Builders %d", f.id), ClientID: f.clientID, ClientSecret: f.clientSecret,
			WebhookURL: fmt.Sprintf("http://%s/webhooks/procore/%d", ingest, f.id), WebhookToken: f.webhookToken, StandardCostCodeListID: f.costCodeList,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// begin starts the processes and waits until they are ready.
func (cl *cluster) begin(ctx context.Context) error {
	for _, p := range cl.all() {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	cl.recorder = newRecorder(cl)
	cl.owned.Go(func() { cl.orchestrate(ctx) })
	if cl.programs.old == nil { // an older version creates its own streams
		if err := cl.provision(ctx); err != nil {
			return err
		}
	}
	if err := cl.until(ctx, time.Minute, func() error {
		for _, n := range cl.nodes {
			if !n.healthy() {
				return fmt.Errorf("%s is not healthy", n.name)
			}
		}
		for _, s := range cl.services {
			if !s.ready() {
				return fmt.Errorf("%s is not ready", s.name)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	cl.owned.Go(func() { cl.recorder.run(ctx) })
	var err error
	cl.watcher, err = listen(ctx, cl)
	return err
}

// until calls ask until it returns nil or limit has passed.
func (cl *cluster) until(ctx context.Context, limit time.Duration, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", limit, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// all returns the processes in the order in which they start.
func (cl *cluster) all() []*program {
	var out []*program
	for _, n := range cl.nodes {
		out = append(out, n.program)
	}
	out = append(out, cl.erp.program)
	for _, s := range cl.services {
		out = append(out, s.program)
	}
	return out
}

func (cl *cluster) program(name string) *program {
	i := slices.IndexFunc(cl.all(), func(p *program) bool { return p.name == name })
	return cl.all()[i]
}

// close stops everything. It may be called twice.
func (cl *cluster) close() error {
	var errs []error
	for _, s := range cl.services {
		s.program.close()
	}
	if cl.erp != nil {
		cl.erp.close()
	}
	for _, f := range cl.firms {
		if f.books != nil {
			errs = append(errs, f.books.Close())
		}
	}
	if cl.watcher != nil {
		cl.watcher.close()
	}
	cl.stop()
	if cl.server != nil {
		_ = cl.server.Close()
	}
	cl.balancer.close()
	cl.network.close()
	for _, n := range cl.nodes {
		if n.program != nil {
			n.program.close()
		}
		n.disk.close()
	}
	if cl.erp != nil {
		cl.erp.disk.close()
	}
	cl.owned.Wait()
	return errors.Join(errs...)
}
