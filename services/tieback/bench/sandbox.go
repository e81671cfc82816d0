package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// The companies of the sandbox. The neighbour is idle except in the fairness bench.
const (
	measured  = local.CompanyID
	neighbour = local.CompanyID + 1
)

// clients are the client ids of the companies.
var clients = map[int64]string{measured: local.ClientID, neighbour: "neighbour"}

// serveSandbox is the child process: a simulated Procore without rate limits, which prints its URL and serves also
//
//	/export?company=&n=&rate=        exports vendors and waits for their end; the response is a result
//	/load?company=&rate=&seconds=    starts exporting vendors and does not wait
//	/sync?company=                   starts a sync of vendors
//	/failure?kind=                   quota: the neighbour's rate limit becomes 100 per hour; secret: its secret is revoked
func serveSandbox(ctx context.Context, out io.Writer) error {
	sb := sandbox.New(sandbox.Config{HourlyLimit: 100_000_000, SpikeLimit: -1, CallLog: -1, InFlight: 128, APIVersion: sandbox.Rotate})
	for id, client := range clients {
		err := sb.AddCompany(sandbox.Company{
			ID: id, Name: "Acme Builders", ClientID: client, ClientSecret: os.Getenv("BENCH_SECRET"),
			WebhookURL: os.Getenv("BENCH_WEBHOOK") + strconv.FormatInt(id, 10), WebhookToken: os.Getenv("BENCH_TOKEN"), StandardCostCodeListID: local.CostCodeList,
		})
		if err != nil {
			return err
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/", sb.Handler())
	handle(mux, map[string]func(*http.Request) (any, error){
		"GET /export": func(r *http.Request) (any, error) {
			return pressMany(r.Context(), sb, int64(number(r, "company")), number(r, "n"), number(r, "rate"))
		},
		"GET /load": func(r *http.Request) (any, error) {
			go pressOn(ctx, sb, int64(number(r, "company")), number(r, "rate"), time.Duration(number(r, "seconds"))*time.Second)
			return true, nil
		},
		"GET /sync": func(r *http.Request) (any, error) {
			_, err := sb.Press(int64(number(r, "company")), "sync_vendors", nil)
			return true, err
		},
		"GET /failure": func(r *http.Request) (any, error) {
			if r.FormValue("kind") == "secret" {
				return true, sb.RotateSecret(neighbour, rand.Text())
			}
			return true, sb.SetLimits(neighbour, 100, -1)
		},
	})
	url, err := local.Serve(ctx, mux)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, url)
	return sb.Run(ctx)
}

// handle adds functions that the parent process calls. The response is JSON.
func handle(mux *http.ServeMux, functions map[string]func(*http.Request) (any, error)) {
	for path, do := range functions {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			a, err := do(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_ = json.NewEncoder(w).Encode(a) // fails only if the parent has ended
		})
	}
}

// number returns a parameter that the parent process has sent.
func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.FormValue(name))
	return n
}

// pressMany presses Export n times, rate times per second (0: without a pause), and waits until all requests succeeded.
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

// pressOn presses Export at a rate for a duration. It does not wait for the requests.
func pressOn(ctx context.Context, sb *sandbox.Sandbox, company int64, rate int, d time.Duration) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := sb.Press(company, "create_vendor", nil); err != nil {
			fmt.Fprintln(os.Stderr, "tieback bench: export:", err)
			return
		}
	}
}
