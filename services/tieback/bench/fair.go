package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// condition is the condition under which the measured company's exports are measured a second time.
type condition struct {
	name string
	load bool   // the neighbour exports 100 times as many vendors
	kind string // failure of the neighbour in Procore: quota or secret; "": none
	hang bool   // the neighbour's ERP does not respond
	sync bool   // the measured company itself syncs 10,000 vendors
}

var conditions = []condition{
	{name: "100 times its load", load: true},
	{name: "… of a company with a dead ERP", load: true, hang: true},
	{name: "… of a company at its quota", load: true, kind: "quota"},
	{name: "… of a company with a revoked secret", load: true, kind: "secret"},
	{name: "its own sync of 10,000 vendors", sync: true},
}

// fairness measures one company's latency alone and then under each condition. Each condition has a new pipeline and sandbox,
// so that both measurements of a line start from the same state.
func fairness(ctx context.Context, o Options, out io.Writer) error {
	fmt.Fprintf(out, "%d vendor exports per second for %d s, from click to close-out; an ERP call takes %v\n%-40s %15s %18s\n",
		o.FairRate, o.FairSeconds, erpLatency, "beside", "alone p50, p99", "beside it p50, p99")
	for _, c := range conditions {
		var alone, loaded result
		err := withPipeline(ctx, c.open, func(ctx context.Context, child *child, _ *run.Pipeline) (err error) {
			alone, loaded, err = child.compare(ctx, o, c)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprintf(out, "%-40s %4.0f ms, %4.0f ms %6.0f ms, %4.0f ms  p99 %+.0f %%\n",
			c.name, alone.latency(0.5), alone.latency(0.99), loaded.latency(0.5), loaded.latency(0.99), 100*(loaded.latency(0.99)/alone.latency(0.99)-1))
	}
	return nil
}

// compare measures without and then with the condition. It does not wait for the neighbour's requests.
func (c *child) compare(ctx context.Context, o Options, cond condition) (alone, loaded result, err error) {
	if _, err = c.export(ctx, 50, 50); err != nil { // warm up
		return alone, loaded, err
	}
	if alone, err = c.export(ctx, o.FairRate*o.FairSeconds, o.FairRate); err != nil {
		return alone, loaded, err
	}
	for _, path := range cond.start(o) {
		if err := c.get(ctx, path, new(bool)); err != nil {
			return alone, loaded, err
		}
	}
	loaded, err = c.export(ctx, o.FairRate*o.FairSeconds, o.FairRate)
	return alone, loaded, err
}

// start returns the requests to the sandbox that start the condition.
func (c condition) start(o Options) (paths []string) {
	if c.kind != "" {
		paths = append(paths, "/failure?kind="+c.kind)
	}
	if c.load {
		paths = append(paths, fmt.Sprintf("/load?company=%d&rate=%d&seconds=%d", int64(neighbour), 100*o.FairRate, o.FairSeconds))
	}
	if c.sync {
		paths = append(paths, fmt.Sprintf("/sync?company=%d", int64(measured)))
	}
	return paths
}

// open opens a pipeline for both companies, each with a slow ERP.
func (c condition) open(ctx context.Context, dir, procoreURL string, secrets local.Secrets) (*run.Pipeline, error) {
	file := filepath.Join(dir, "companies.yaml")
	text := "companies:\n"
	for id, client := range clients {
		text += fmt.Sprintf("  - {id: %d, name: C, client_id: %s, client_secret: %s, webhook_tokens: [%s], standard_cost_code_list_id: %d, connector: {driver: fair}}\n",
			id, client, secrets.ClientSecret, secrets.WebhookToken, local.CostCodeList)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	env := map[string]string{
		"TIEBACK_DATA": dir, "TIEBACK_COMPANIES": file, "TIEBACK_PROCORE_API_URL": procoreURL, "TIEBACK_PROCORE_LOGIN_URL": procoreURL,
		"TIEBACK_ADMIN_ADDR": "127.0.0.1:0", "TIEBACK_LOG_LEVEL": "error",
	}
	p, err := tenant.Load("tieback", func(name string) string { return env[name] }, tenant.AllCompanies)
	if err != nil {
		return nil, err
	}
	p.Log = zap.NewNop()
	pl, err := run.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	p.Drivers["fair"] = slowERPs(pl.Ledger.Opener(), c.hang)
	if c.sync {
		err = fillBooks(ctx, pl.Ledger, 10_000)
	}
	return pl, err
}

// fillBooks adds n vendors to the measured company's ledger that Procore does not have.
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
