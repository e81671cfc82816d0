package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// serveFairSandbox is the child of the fairness bench: two companies without limits, and
//
//	/bench?company=&n=&rate=         presses exports and waits for their end
//	/load?company=&rate=&seconds=    begins to press exports, and waits for nothing
//	/sync?company=                   presses a sync of vendors
//	/trouble?kind=                   quota: the neighbour's is spent soon; secret: its is revoked
func serveFairSandbox(ctx context.Context, out io.Writer) error {
	sb := sandbox.New(sandbox.Config{HourlyLimit: 100_000_000, SpikeLimit: -1, CallLog: -1, InFlight: 128, APIVersion: sandbox.Rotate})
	for _, id := range []int64{measured, neighbour} {
		err := sb.AddCompany(sandbox.Company{
			ID: id, Name: "C", ClientID: fmt.Sprintf("client-%d", id), ClientSecret: os.Getenv("BENCH_SECRET"),
			WebhookURL: os.Getenv("BENCH_WEBHOOK") + strconv.FormatInt(id, 10), WebhookToken: os.Getenv("BENCH_TOKEN"), StandardCostCodeListID: local.CostCodeList,
		})
		if err != nil {
			return err
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/", sb.Handler())
	for path, do := range map[string]func(*http.Request) (any, error){
		"GET /bench": func(r *http.Request) (any, error) {
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
		"GET /trouble": func(r *http.Request) (any, error) {
			if r.FormValue("kind") == "secret" {
				return true, sb.RotateSecret(neighbour, rand.Text())
			}
			return true, sb.SetLimits(neighbour, 100, -1)
		},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			a, err := do(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_ = json.NewEncoder(w).Encode(a) // the parent gone is no news
		})
	}
	url, err := local.Serve(ctx, mux)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, url)
	return sb.Run(ctx)
}

func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.FormValue(name)) // by our own parent
	return n
}

// pressOn presses exports at a rate, come of them what may.
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
			fmt.Fprintln(os.Stderr, "press:", err)
			return
		}
	}
}
