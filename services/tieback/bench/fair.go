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

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/run/local"
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
	{name: "100 times its load", load: true},
	{name: "… of a company with a dead ERP", load: true, hang: true},
	{name: "… of a company at its quota", load: true, kind: "quota"},
	{name: "… of a company with a revoked secret", load: true, kind: "secret"},
	{name: "its own sync of 10,000 vendors", sync: true},
}

// fairness prints one company's latency alone and then beside each trouble, each time on a
// fresh pipeline and sandbox, so that both halves of a line find the machine alike.
func fairness(ctx context.Context, o Options, out io.Writer) error {
	fmt.Fprintf(out, "%d vendor exports a second for %d s, from click to close-out; an ERP call takes %v\n%-40s %15s %18s\n",
		o.FairRate, o.FairSeconds, erpTakes, "beside", "alone p50, p99", "beside it p50, p99")
	for _, t := range troubles {
		alone, crowded, err := beside(ctx, o, t)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		fmt.Fprintf(out, "%-40s %4.0f ms, %4.0f ms %6.0f ms, %4.0f ms  p99 %+.0f %%\n",
			t.name, alone.P50ms, alone.P99ms, crowded.P50ms, crowded.P99ms, 100*(crowded.P99ms/alone.P99ms-1))
	}
	return nil
}

// beside measures on a pipeline of its own.
func beside(ctx context.Context, o Options, t trouble) (alone, crowded result, err error) {
	dir, err := os.MkdirTemp("", "tieback-fair-")
	if err != nil {
		return alone, crowded, err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return alone, crowded, err
	}
	secrets := local.NewSecrets()
	child, err := startSandbox(ctx, "--fair-sandbox", secrets, "http://"+l.Addr().String()+"/webhooks/procore/")
	if err != nil {
		return alone, crowded, err
	}
	defer child.stop()
	pl, err := openTwo(ctx, dir, child.url, secrets, t)
	if err != nil {
		return alone, crowded, err
	}
	defer pl.Close()
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	g.Go(func() error {
		if err := pl.Run(ctx, l); ctx.Err() == nil {
			return err
		}
		return nil // stopped in the midst of the neighbour's work
	})
	g.Go(func() (err error) { defer stop(); alone, crowded, err = child.beside(ctx, o, t); return err })
	err = g.Wait()
	return alone, crowded, err
}

// beside presses and waits; what the neighbour has left over is left behind.
func (c *child) beside(ctx context.Context, o Options, t trouble) (alone, crowded result, err error) {
	if _, err = c.exports(ctx, 50, 50); err != nil { // warm up
		return alone, crowded, err
	}
	if alone, err = c.exports(ctx, o.FairRate*o.FairSeconds, o.FairRate); err != nil {
		return alone, crowded, err
	}
	for _, path := range t.begin(o) {
		if err := get(ctx, c.url+path, new(bool)); err != nil {
			return alone, crowded, err
		}
	}
	crowded, err = c.exports(ctx, o.FairRate*o.FairSeconds, o.FairRate)
	return alone, crowded, err
}

// begin is what to ask of the sandbox.
func (t trouble) begin(o Options) (paths []string) {
	if t.kind != "" {
		paths = append(paths, "/trouble?kind="+t.kind)
	}
	if t.load {
		paths = append(paths, fmt.Sprintf("/load?company=%d&rate=%d&seconds=%d", neighbour, 100*o.FairRate, o.FairSeconds))
	}
	if t.sync {
		paths = append(paths, fmt.Sprintf("/sync?company=%d", measured))
	}
	return paths
}

// exports presses n of the measured company, so many a second, and waits for their end.
func (c *child) exports(ctx context.Context, n, rate int) (r result, err error) {
	err = get(ctx, fmt.Sprintf("%s/bench?company=%d&n=%d&rate=%d", c.url, measured, n, rate), &r)
	return r, err
}

// openTwo opens a pipeline for the two companies.
func openTwo(ctx context.Context, dir, procore string, secrets local.Secrets, t trouble) (*run.Pipeline, error) {
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
	p, err := tenant.LoadFrom("tieback", func(name string) string { return env[name] })
	if err != nil {
		return nil, err
	}
	p.Log = zap.NewNop()
	pl, err := run.Open(ctx, p)
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
