package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// result is what a run of presses came to.
type result struct {
	Seconds float64 // from the first click to the last close-out
	P50ms   float64
	P99ms   float64
	Calls   int64 // of Procore's API
}

// child is the sandbox's process.
type child struct {
	cmd *exec.Cmd
	url string
}

// startSandbox runs this program again as the sandbox that the flag names.
func startSandbox(ctx context.Context, flag string, s local.Secrets, webhook string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "bench", flag)
	cmd.Env = append(os.Environ(), "BENCH_SECRET="+s.ClientSecret, "BENCH_TOKEN="+s.WebhookToken, "BENCH_WEBHOOK="+webhook)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the sandbox process said nothing: %w", err)
	}
	return &child{cmd: cmd, url: strings.TrimSpace(url)}, nil
}

func (c *child) stop() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // killed: it has no status of interest
}

// press has n vendor exports pressed, rate a second (0: at once), and waits for their end.
func (c *child) press(ctx context.Context, n, rate int) (result, error) {
	var r result
	err := get(ctx, fmt.Sprintf("%s/bench?n=%d&rate=%d", c.url, n, rate), &r)
	return r, err
}

// serveSandbox is the child: a sandbox without limits, and the presses at /bench.
func serveSandbox(ctx context.Context, out io.Writer) error {
	sb := sandbox.New(sandbox.Config{HourlyLimit: 100_000_000, SpikeLimit: -1, CallLog: -1, InFlight: 128, APIVersion: sandbox.Rotate})
	err := sb.AddCompany(sandbox.Company{
		ID: local.CompanyID, Name: "Acme Builders", ClientID: local.ClientID, ClientSecret: os.Getenv("BENCH_SECRET"),
		WebhookURL: os.Getenv("BENCH_WEBHOOK"), WebhookToken: os.Getenv("BENCH_TOKEN"), StandardCostCodeListID: local.CostCodeList,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", sb.Handler())
	mux.HandleFunc("GET /bench", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("n"))
		rate, _ := strconv.Atoi(r.FormValue("rate"))
		res, err := pressMany(r.Context(), sb, local.CompanyID, n, rate)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(res) // the parent gone is no news
	})
	url, err := local.Serve(ctx, mux)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, url)
	return sb.Run(ctx)
}

func pressMany(ctx context.Context, sb *sandbox.Sandbox, company int64, n, rate int) (result, error) {
	payloads := make([]map[string]any, n)
	for i := range payloads {
		var err error
		if payloads[i], err = sb.Sample(company, "create_vendor", nil); err != nil {
			return result{}, err
		}
	}
	start, calls := time.Now(), sb.TotalCalls()
	took := make([]time.Duration, n)
	g, ctx := errgroup.WithContext(ctx)
	for i, payload := range payloads {
		if rate > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		id, err := sb.Press(company, "create_vendor", payload)
		if err != nil {
			return result{}, err
		}
		g.Go(func() error {
			req, err := sb.Wait(ctx, id)
			if err != nil {
				return fmt.Errorf("request %d: %w", id, err)
			}
			if req.Outcome() != sandbox.Success {
				return fmt.Errorf("request %d ended %s: %v", id, req.Outcome(), req.Details)
			}
			took[i] = req.Closed.Sub(req.Clicked)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return result{}, err
	}
	slices.Sort(took)
	ms := func(q float64) float64 { return float64(took[int(q*float64(n-1))].Microseconds()) / 1000 }
	return result{Seconds: time.Since(start).Seconds(), P50ms: ms(0.50), P99ms: ms(0.99), Calls: sb.TotalCalls() - calls}, nil
}
