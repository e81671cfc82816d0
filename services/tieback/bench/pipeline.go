package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// result is the result of a number of exports.
type result struct {
	Seconds float64 // from the first click to the last close-out
	P50ms   float64
	P99ms   float64
	Calls   int64 // to Procore's API
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
	c, err := startSandbox(ctx, secrets, "http://"+l.Addr().String()+"/webhooks/procore/")
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer c.stop()
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

// child is a child process of the bench. It serves HTTP for this process.
type child struct {
	cmd *exec.Cmd
	url string
}

// startSandbox starts the simulated Procore. It delivers to the URL webhook followed by the company's id.
func startSandbox(ctx context.Context, s local.Secrets, webhook string) (*child, error) {
	return startChild(ctx, "sandbox", "BENCH_SECRET="+s.ClientSecret, "BENCH_TOKEN="+s.WebhookToken, "BENCH_WEBHOOK="+webhook)
}

// startChild starts this program as a child process, with more environment variables.
func startChild(ctx context.Context, kind string, env ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "bench", "--child", kind)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd}
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("the child process %s did not print its URL: %w", kind, err)
	}
	c.url = strings.TrimSpace(url)
	return c, nil
}

func (c *child) stop() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // it was killed
}

// export exports n vendors of the measured company, rate per second (0: without a pause), and waits for their end.
func (c *child) export(ctx context.Context, n, rate int) (r result, err error) {
	err = c.get(ctx, fmt.Sprintf("/export?company=%d&n=%d&rate=%d", int64(measured), n, rate), &r)
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
