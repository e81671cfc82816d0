package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// fairCompanies is the number of companies that are measured. Several give enough events for a p99, although each has little load.
const fairCompanies = 10

// condition is the condition under which the companies' exports are measured a second time.
type condition struct {
	name string
	load bool   // the neighbour exports 100 times as many vendors
	kind string // failure of the neighbour in Procore: quota or secret; "": none
	hang bool   // the neighbour's ERP does not respond
	sync bool   // a measured company itself syncs 10,000 vendors; only its exports are measured, as many as otherwise of all
}

var conditions = []condition{
	{name: "100 times its load", load: true},
	{name: "… of a company with a dead ERP", load: true, hang: true},
	{name: "… of a company at its quota", load: true, kind: "quota"},
	{name: "… of a company with a revoked secret", load: true, kind: "secret"},
	{name: "its own sync of 10,000 vendors", sync: true},
}

// fairness measures the latency of ten companies alone and then under each condition. Each condition has a new pipeline and sandbox,
// so that both measurements of a line start from the same state.
func fairness(ctx context.Context, o Options, out io.Writer) error {
	fmt.Fprintf(out, `%d companies export %d vendors per second each for %d s: %d events in each cell. Every write is synced to %s.
An ERP call takes %v. The times are from click to close-out, in ms. In brackets is the 95 %% confidence interval of the p99.

%-38s %26s %26s
`, fairCompanies, o.FairRate, o.FairSeconds, fairCompanies*o.FairRate*o.FairSeconds, storage(os.TempDir()), erpLatency, "beside", "alone p50, p99", "beside it p50, p99")
	for _, c := range conditions {
		var alone, loaded result
		err := withPipeline(ctx, c.open, func(ctx context.Context, child *child, _ *run.Pipeline) (err error) {
			alone, loaded, err = child.compare(ctx, o, c)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprintf(out, "%-38s %26s %26s  p99 %+.0f %%\n", c.name, cell(alone), cell(loaded), 100*(loaded.latency(0.99)/alone.latency(0.99)-1))
	}
	return nil
}

// cell prints a measurement.
func cell(r result) string {
	low, high := r.p99Interval()
	return fmt.Sprintf("%.0f, %.0f [%.0f to %.0f]", r.latency(0.50), r.latency(0.99), low, high)
}

// p99Interval returns the 95 % confidence interval of the p99 in milliseconds. Its bounds are values of the sample: the number of values
// below the p99 has a binomial distribution, whatever the distribution of the values is.
func (r result) p99Interval() (low, high float64) {
	n := float64(len(r.Exports))
	half := 1.96 * math.Sqrt(0.99*0.01/n)
	return r.latency(max(0.99-half, 0)), r.latency(min(0.99+half, 1))
}

// storage describes the file system of a directory. A measurement on files in memory says nothing about one on a disk.
func storage(dir string) string {
	if inMemory(dir) {
		return dir + ", which is IN MEMORY; set TMPDIR to a directory on a disk"
	}
	return dir
}

// compare measures without and then with the condition. It does not wait for the neighbour's requests.
func (c *child) compare(ctx context.Context, o Options, cond condition) (alone, loaded result, err error) {
	company := int64(0) // all in turn
	if cond.sync {
		company = measured
	}
	rate := fairCompanies * o.FairRate
	if _, err = c.exportType(ctx, company, "create_vendor", 5*rate, rate); err != nil { // warm up
		return alone, loaded, err
	}
	if alone, err = c.exportType(ctx, company, "create_vendor", rate*o.FairSeconds, rate); err != nil {
		return alone, loaded, err
	}
	for _, path := range cond.start(o) {
		if err := c.get(ctx, path, new(bool)); err != nil {
			return alone, loaded, err
		}
	}
	loaded, err = c.exportType(ctx, company, "create_vendor", rate*o.FairSeconds, rate)
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

// open opens a pipeline for all companies, each with a slow ERP.
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
	pl, err := run.Open(ctx, p, nil)
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
