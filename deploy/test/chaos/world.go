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

// world is one seed's: its processes, the links between them, and what is not theirs to fail.
//
//	sandbox ─▶ ingest          every arrow between two parts is a link of its own,
//	services ─▶ broker         and so is each way between two nodes of a cluster
//	services ─▶ sandbox
//	services ─▶ [front ─▶] ledger
//
// The sandbox (Procore) lives in this process: it is the judge and holds the truth.
type world struct {
	seed     uint64
	dir      string
	logs     string
	programs programs
	ports    *ports
	network  *network
	nodes    []*node
	services []*service
	erp      *erp
	sandbox  *sandbox.Sandbox
	procore  string // the sandbox's address
	firms    []*firm
	crowds   []*crowd
	cast     []firm // whose companies there are, without their names
	keys     string // folder of the services' keys at the broker; "": there are none
	door     *door  // before ingest; nil: a link leads to it
	ear      *ear
	watch    *watch

	stop   context.CancelFunc
	owned  sync.WaitGroup
	server *http.Server
}

// firm is a company of Procore.
type firm struct {
	id           int64
	clientID     string
	clientSecret string
	webhookToken string
	costCodeList int64
	crowd        bool             // its users wait for nothing; those of the others are accountants
	moody        bool             // its ERP is reached through the front, which has faults of its own
	books        connector.Driver // for its own people, past all links
}

// speed makes an hour of Procore's limits a minute, and its backoffs as short.
const speed = 60

// newWorld opens everything and waits until it is up.
func newWorld(ctx context.Context, o options, p programs, seed uint64) (w *world, err error) {
	w = &world{seed: seed, programs: p, ports: o.ports, network: newNetwork(o.ports), cast: o.cast(), dir: filepath.Join(o.dir, fmt.Sprintf("seed-%d", seed))}
	w.logs = filepath.Join(w.dir, "logs")
	if err := os.MkdirAll(w.logs, 0o755); err != nil {
		return nil, err
	}
	if o.rolling {
		if w.door, err = openDoor(o.ports); err != nil {
			return nil, err
		}
	}
	ctx, w.stop = context.WithCancel(ctx)
	for _, step := range []func(context.Context) error{
		w.newKeys,
		func(context.Context) error { return w.newNodes(o.nodesOf(seed)) },
		w.openSandbox, w.openERP, w.newServices, w.begin,
	} {
		if err := step(ctx); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

// openSandbox makes Procore and its companies.
func (w *world) openSandbox(ctx context.Context) error {
	w.sandbox = sandbox.New(sandbox.Config{
		Speed: speed, Seed: w.seed, APIVersion: sandbox.Rotate, CallLog: 50_000,
		DuplicateFraction: 0.1, LateFraction: 0.1, LateBy: 1500 * time.Millisecond,
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.procore = l.Addr().String()
	w.server = &http.Server{Handler: w.sandbox.Handler(), ReadHeaderTimeout: 5 * time.Second}
	w.owned.Go(func() { _ = w.server.Serve(l) })
	for i, kind := range w.cast {
		f := &kind
		f.id, f.clientID, f.costCodeList = 598134325841112+1000*int64(i), fmt.Sprintf("client-%d", i), int64(i)+2
		f.clientSecret, f.webhookToken = rand.Text(), rand.Text()
		w.firms = append(w.firms, f)
		if f.crowd {
			w.crowds = append(w.crowds, &crowd{w: w, firm: f, rng: mathrand.New(mathrand.NewPCG(w.seed, uint64(i)))})
		}
	}
	w.owned.Go(func() { _ = w.sandbox.Run(ctx) })
	return nil
}

// connect gives the companies their hooks, once ingest has a link.
func (w *world) connect(ingest string) error {
	for _, f := range w.firms {
		err := w.sandbox.AddCompany(sandbox.Company{
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
func (w *world) begin(ctx context.Context) error {
	for _, p := range w.all() {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	w.watch = newWatch(w)
	w.owned.Go(func() { w.orchestrate(ctx) })
	if w.programs.old == nil { // an older version makes its own
		if err := w.streams(ctx); err != nil {
			return err
		}
	}
	if err := w.until(ctx, time.Minute, func() error {
		for _, n := range w.nodes {
			if !n.healthy() {
				return fmt.Errorf("%s is not healthy", n.name)
			}
		}
		for _, s := range w.services {
			if !s.ready() {
				return fmt.Errorf("%s is not ready", s.name)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	w.owned.Go(func() { w.watch.run(ctx) })
	var err error
	w.ear, err = listen(ctx, w)
	return err
}

// until asks again and again until it is told no error, or time is up.
func (w *world) until(ctx context.Context, limit time.Duration, ask func() error) error {
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

// all are the processes, in the order they start.
func (w *world) all() []*program {
	var out []*program
	for _, n := range w.nodes {
		out = append(out, n.program)
	}
	out = append(out, w.erp.program)
	for _, s := range w.services {
		out = append(out, s.program)
	}
	return out
}

func (w *world) program(name string) *program {
	i := slices.IndexFunc(w.all(), func(p *program) bool { return p.name == name })
	return w.all()[i]
}

// close ends everything. Twice is harmless.
func (w *world) close() error {
	var errs []error
	for _, s := range w.services {
		s.program.close()
	}
	if w.erp != nil {
		w.erp.close()
	}
	for _, f := range w.firms {
		if f.books != nil {
			errs = append(errs, f.books.Close())
		}
	}
	if w.ear != nil {
		w.ear.close()
	}
	w.stop()
	if w.server != nil {
		_ = w.server.Close()
	}
	w.door.close()
	w.network.close()
	for _, n := range w.nodes {
		if n.program != nil {
			n.program.close()
		}
		n.disk.close()
	}
	if w.erp != nil {
		w.erp.disk.close()
	}
	w.owned.Wait()
	return errors.Join(errs...)
}
