package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/services/ledger"
	"github.com/tieback/tieback/services/process"
	"github.com/tieback/tieback/services/tieback/local"
	"github.com/tieback/tieback/services/tieback/pipeline"
)

// The two companies of the fairness bench: one whose clicks are measured, and its neighbour.
const (
	measured  = local.CompanyID
	neighbour = local.CompanyID + 1
)

// trouble is what goes on beside the measured company's exports.
type trouble struct {
	name string
	load bool   // the neighbour's exports, a hundred times as many
	kind string // of trouble in the sandbox; "": none
	hang bool   // the neighbour's ERP
	sync bool   // of 10,000 vendors of the measured company itself
}

var troubles = []trouble{
	{name: "alone"},
	{name: "beside 100 times its load", load: true},
	{name: "… of a company with a dead ERP", load: true, hang: true},
	{name: "… of a company at its quota", load: true, kind: "quota"},
	{name: "… of a company with a revoked secret", load: true, kind: "secret"},
	{name: "alone, once more"},
	{name: "beside its own sync of 10,000 vendors", sync: true},
}

// fairness prints the latency of one company's exports beside each trouble, each time on a
// fresh pipeline and sandbox.
func fairness(ctx context.Context, o Options, out io.Writer) error {
	fmt.Fprintf(out, "one company's %d vendor exports a second for %d s, from click to close-out; its ERP takes %v a call\n%-42s %8s %8s\n",
		o.FairRate, o.FairSeconds, erpTakes, "", "p50", "p99")
	var alone result
	for _, t := range troubles {
		r, err := beside(ctx, o, t)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		if alone.P99ms == 0 {
			alone = r
		}
		fmt.Fprintf(out, "%-42s %5.0f ms %5.0f ms  %+.0f %%\n", t.name, r.P50ms, r.P99ms, 100*(r.P99ms/alone.P99ms-1))
	}
	return nil
}

// beside measures on a pipeline of its own.
func beside(ctx context.Context, o Options, t trouble) (r result, err error) {
	dir, err := os.MkdirTemp("", "tieback-fair-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	secrets := local.NewSecrets()
	child, err := startSandbox(ctx, "--fair-sandbox", secrets, "http://"+l.Addr().String()+"/webhooks/procore/")
	if err != nil {
		return r, err
	}
	defer child.stop()
	pl, err := openTwo(ctx, dir, child.url, secrets, t)
	if err != nil {
		return r, err
	}
	defer pl.Close()
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	g.Go(func() error { return pl.Run(ctx, l) })
	g.Go(func() (err error) { defer stop(); r, err = child.beside(ctx, o, t); return err })
	return r, g.Wait()
}

// beside presses and waits; what the neighbour has left over is left behind.
func (c *child) beside(ctx context.Context, o Options, t trouble) (r result, err error) {
	if err := get(ctx, fmt.Sprintf("%s/bench?company=%d&n=50&rate=50", c.url, measured), &r); err != nil { // warm up
		return r, err
	}
	if t.kind != "" {
		if err := get(ctx, c.url+"/trouble?kind="+t.kind, new(bool)); err != nil {
			return r, err
		}
	}
	switch {
	case t.load:
		err = get(ctx, fmt.Sprintf("%s/load?company=%d&rate=%d&seconds=%d", c.url, neighbour, 100*o.FairRate, o.FairSeconds), new(bool))
	case t.sync:
		err = get(ctx, fmt.Sprintf("%s/sync?company=%d", c.url, measured), new(bool))
	}
	if err != nil {
		return r, err
	}
	err = get(ctx, fmt.Sprintf("%s/bench?company=%d&n=%d&rate=%d", c.url, measured, o.FairRate*o.FairSeconds, o.FairRate), &r)
	return r, err
}

// openTwo opens a pipeline for the two companies.
func openTwo(ctx context.Context, dir, procore string, secrets local.Secrets, t trouble) (*pipeline.Pipeline, error) {
	file := filepath.Join(dir, "companies.yaml")
	text := "companies:\n"
	for _, id := range []int64{measured, neighbour} {
		text += fmt.Sprintf("  - {id: %d, name: C, client_id: client-%d, client_secret: %s, webhook_tokens: [%s], standard_cost_code_list_id: %d, connector: {driver: fair}}\n",
			id, id, secrets.ClientSecret, secrets.WebhookToken, local.CostCodeList)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	env := map[string]string{
		"TIEBACK_DATA": dir, "TIEBACK_COMPANIES": file, "TIEBACK_PROCORE_API_URL": procore, "TIEBACK_PROCORE_LOGIN_URL": procore,
		"TIEBACK_ADMIN_ADDR": "127.0.0.1:0", "TIEBACK_LOG_LEVEL": "error",
	}
	p, err := process.LoadFrom("tieback", func(name string) string { return env[name] })
	if err != nil {
		return nil, err
	}
	p.Log = zap.NewNop()
	pl, err := pipeline.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	p.Drivers["fair"] = slowERPs(pl.Ledger.Opener(), t.hang)
	if t.sync {
		err = fillBooks(ctx, pl.Ledger, 10_000)
	}
	return pl, err
}

// fillBooks has the ERP's own users add vendors.
func fillBooks(ctx context.Context, l *ledger.Ledger, n int) error {
	books, err := l.Company(ctx, measured)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(256)
	for i := range n {
		g.Go(func() error {
			_, err := books.Add(ctx, &ledger.Record{Entity: ledger.Vendor, Name: fmt.Sprintf("Vendor %d", i)})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return books.Close()
}

const (
	erpTakes = 5 * time.Millisecond
	erpBears = 8 // calls at once
	erpHangs = 30 * time.Second
)
