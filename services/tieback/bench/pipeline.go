package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// result is the result of a number of exports.
type result struct {
	Exports []export
	Acks    []time.Duration // of webhook calls that were acknowledged
	Calls   int64           // to Procore's API
}

// export is the times of an export.
type export struct{ Clicked, Closed time.Time }

// seconds returns the time from the first click to the last close-out.
func (r result) seconds() float64 {
	first, last := r.Exports[0].Clicked, r.Exports[0].Closed
	for _, e := range r.Exports {
		if e.Closed.After(last) {
			last = e.Closed
		}
	}
	return last.Sub(first).Seconds()
}

// latency returns a quantile of the times from click to close-out, in milliseconds.
func (r result) latency(q float64) float64 {
	all := make([]time.Duration, len(r.Exports))
	for i, e := range r.Exports {
		all[i] = e.Closed.Sub(e.Clicked)
	}
	return quantile(all, q)
}

// quantile returns a quantile in milliseconds. The slice is sorted.
func quantile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[int(q*float64(len(all)-1))].Microseconds()) / 1000
}

// withPipeline calls use with a new sandbox process and a running pipeline, and stops both when use returns.
func withPipeline(ctx context.Context, open func(ctx context.Context, dir, procoreURL string, secrets local.Secrets) (*run.Pipeline, error),
	use func(context.Context, *child, *run.Pipeline) error) error {
	dir, err := os.MkdirTemp("", "tieback-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	secrets := local.NewSecrets()
	c, err := startSandbox(ctx, dir, secrets, "http://"+l.Addr().String()+"/webhooks/procore/")
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer c.kill()
	pl, err := open(ctx, dir, c.url, secrets)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer pl.Close()
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	g.Go(func() error {
		if err := pl.Run(ctx, l); ctx.Err() == nil {
			return err
		}
		return nil // it was stopped, perhaps while the neighbour's work was in progress
	})
	g.Go(func() error { defer stop(); return use(ctx, c, pl) })
	return g.Wait()
}

// child is a child process of the benchmark that serves HTTP for this process.
type child struct {
	*process
	url string
}

// startSandbox starts the sandbox. It delivers to the URL webhook followed by the company's id.
func startSandbox(ctx context.Context, dir string, s local.Secrets, webhook string, env ...string) (*child, error) {
	return startChild(ctx, "sandbox", dir, append(env, "BENCH_SECRET="+s.ClientSecret, "BENCH_TOKEN="+s.WebhookToken, "BENCH_WEBHOOK="+webhook)...)
}

// startChild starts this program as a part that serves, with its log in dir.
func startChild(ctx context.Context, name, dir string, env ...string) (*child, error) {
	addr := freePort()
	c := &child{process: part(name, dir, append(env, "BENCH_LISTEN="+addr)...), url: "http://" + addr}
	if err := startAt(ctx, c.process, addr); err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

// export exports n vendors of the measured company, rate per second (0: without a pause), and waits for their end.
func (c *child) export(ctx context.Context, n, rate int) (result, error) {
	return c.exportType(ctx, measured, "create_vendor", n, rate)
}

// exportType is export for a company, or all of them in turn (0), and an event type.
func (c *child) exportType(ctx context.Context, company int64, eventType string, n, rate int) (r result, err error) {
	err = c.get(ctx, fmt.Sprintf("/export?company=%d&type=%s&n=%d&rate=%d", company, eventType, n, rate), &r)
	return r, err
}

// get sends a request to the child process and decodes the response.
func (c *child) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s: %s: %s", path, resp.Status, text)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
