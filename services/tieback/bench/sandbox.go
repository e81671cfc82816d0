package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// The companies of the sandbox. The neighbour is idle except in the fairness bench.
const (
	measured  = local.CompanyID
	neighbour = local.CompanyID + 1_000_000
)

// clients are the client ids of the companies.
var clients = func() map[int64]string {
	all := manyClients(fairCompanies)
	all[measured], all[neighbour] = local.ClientID, "neighbour"
	return all
}()

// serveSandbox is the child process sandbox: a simulated Procore, by default without rate limits, and the ERP of the comparison.
// It serves also
//
//	/export?company=&type=&n=&rate=  exports n records, of all companies in turn with company=0, and waits for their end; the response is a result
//	/load?company=&rate=&seconds=    starts exporting vendors and does not wait
//	/sync?company=                   starts a sync of vendors
//	/failure?kind=                   quota: the neighbour's rate limit becomes 100 per hour; secret: its secret is revoked
//	/progress                        the progress of the export
//	/limits?hourly=&spike=           sets the rate limits of the measured company; -1: none
func serveSandbox(ctx context.Context, getenv func(string) string) error {
	w := &world{books: newBooks()}
	w.sb = sandbox.New(sandbox.Config{HourlyLimit: 3_600_000, SpikeLimit: -1, CallLog: -1, InFlight: 32, APIVersion: cmp.Or(getenv("BENCH_API_VERSION"), sandbox.Rotate),
		DuplicateFraction: duplicates(getenv), Delivered: w.delivered})
	for id, client := range clientsOf(getenv) {
		err := w.sb.AddCompany(sandbox.Company{
			ID: id, Name: "Acme Builders", ClientID: client, ClientSecret: getenv("BENCH_SECRET"),
			WebhookURL: getenv("BENCH_WEBHOOK") + strconv.FormatInt(id, 10), WebhookToken: getenv("BENCH_TOKEN"), StandardCostCodeListID: local.CostCodeList,
		})
		if err != nil {
			return err
		}
		if id != neighbour {
			w.companies = append(w.companies, id)
		}
	}
	slices.Sort(w.companies)
	mux := http.NewServeMux()
	mux.Handle("/", w.sb.Handler())
	mux.HandleFunc("POST /erp/commitments", w.books.post)
	mux.HandleFunc("GET /erp/commitments", w.books.get)
	handle(mux, map[string]func(*http.Request) (any, error){
		"GET /export": func(r *http.Request) (any, error) {
			return w.export(r.Context(), int64(number(r, "company")), r.FormValue("type"), number(r, "n"), number(r, "rate"))
		},
		"GET /load": func(r *http.Request) (any, error) {
			go pressOn(ctx, w.sb, int64(number(r, "company")), number(r, "rate"), time.Duration(number(r, "seconds"))*time.Second)
			return true, nil
		},
		"GET /sync": func(r *http.Request) (any, error) {
			_, err := w.sb.Press(int64(number(r, "company")), "sync_vendors", nil)
			return true, err
		},
		"GET /failure": func(r *http.Request) (any, error) {
			if r.FormValue("kind") == "secret" {
				return true, w.sb.RotateSecret(neighbour, rand.Text())
			}
			return true, w.sb.SetLimits(neighbour, 100, -1)
		},
		"GET /progress": func(*http.Request) (any, error) { return w.progress(), nil },
		"GET /limits": func(r *http.Request) (any, error) {
			return true, w.sb.SetLimits(measured, number(r, "hourly"), number(r, "spike"))
		},
	})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveParent(ctx, getenv, mux) })
	g.Go(func() error { return w.sb.Run(ctx) })
	return g.Wait()
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

// serveParent serves the parent process at the address that it has chosen, until ctx ends.
func serveParent(ctx context.Context, getenv func(string) string, h http.Handler) error {
	srv := &http.Server{Addr: getenv("BENCH_LISTEN"), Handler: h, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}

// duplicates returns the fraction of deliveries that are made twice.
func duplicates(getenv func(string) string) float64 {
	f, _ := strconv.ParseFloat(getenv("BENCH_DUPLICATES"), 64) // not set: none
	return f
}

// clientsOf returns the companies of the sandbox and their clients: those of the fairness bench, or BENCH_COMPANIES companies with a
// client for each.
func clientsOf(getenv func(string) string) map[int64]string {
	n, _ := strconv.Atoi(getenv("BENCH_COMPANIES"))
	if n == 0 {
		return clients
	}
	return manyClients(n)
}

// manyClients returns n companies with a client for each.
func manyClients(n int) map[int64]string {
	all := map[int64]string{}
	for i := range n {
		all[measured+int64(i)] = clientID(i)
	}
	return all
}

func clientID(n int) string { return fmt.Sprintf("client-%d", n) }

// number returns a parameter that the parent process has sent.
func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.FormValue(name))
	return n
}

// world is what the pipeline is connected to: Procore and the ERP of the comparison.
type world struct {
	sb        *sandbox.Sandbox
	books     *books
	companies []int64 // sorted, without the neighbour

	mu     sync.Mutex      // guards the fields below, which are of the running export
	acks   []time.Duration // durations of webhook calls that were acknowledged
	open   []int64         // requests that were open at the last look
	closed int
}

// delivered records the duration of a webhook call that was acknowledged.
func (w *world) delivered(took time.Duration, status int) {
	if status/100 != 2 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks = append(w.acks, took)
}

// begin forgets the last export.
func (w *world) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks, w.open, w.closed = nil, nil, 0
}

// pressed records a request.
func (w *world) pressed(id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, id)
}

func (w *world) progress() progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := len(w.open)
	w.open = slices.DeleteFunc(w.open, func(id int64) bool { r, _ := w.sb.Request(id); return r.IsClosed() })
	w.closed += before - len(w.open)
	return progress{Acked: len(w.acks), Closed: w.closed}
}

// acknowledged returns the durations of the webhook calls.
func (w *world) acknowledged() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acks)
}

// prepared is how many payloads are made before the first press, so that this does not slow down a burst. More would take much memory.
const prepared = 20_000

// export presses Export n times, rate times per second (0: without a pause), waits for the end of all requests, and checks each.
// company 0 is all companies in turn.
func (w *world) export(ctx context.Context, company int64, eventType string, n, rate int) (result, error) {
	companies := []int64{company}
	if company == 0 {
		companies = w.companies
	}
	payloads := make([]map[string]any, min(n, prepared))
	for i := range payloads {
		var err error
		if payloads[i], err = w.sb.Sample(companies[i%len(companies)], eventType, nil); err != nil {
			return result{}, err
		}
	}
	w.begin()
	start, calls := time.Now(), w.sb.TotalCalls()
	made := make([]pressed, n)
	for i := range made {
		if rate > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		var payload map[string]any
		if i < len(payloads) {
			payload, payloads[i] = payloads[i], nil
		}
		var err error
		if made[i], err = w.press(companies[i%len(companies)], eventType, payload); err != nil {
			return result{}, err
		}
	}
	r := result{Exports: make([]export, n)}
	for i, p := range made {
		req, err := w.sb.Wait(ctx, p.id)
		if err != nil {
			return result{}, fmt.Errorf("request %d: %w", p.id, err)
		}
		r.Exports[i] = export{req.Clicked, req.Closed}
	}
	r.Calls, r.Acks = w.sb.TotalCalls()-calls, w.acknowledged()
	for _, p := range made {
		if err := w.check(p); err != nil {
			return result{}, fmt.Errorf("request %d: %w", p.id, err)
		}
	}
	if bad := w.sb.Violations(); len(bad) > 0 {
		return result{}, fmt.Errorf("a call differs from Procore's published operation: %s", bad[0])
	}
	return r, nil
}

// pressed is a request and, if it is the export of a commitment, its records.
type pressed struct{ id, contract, line int64 }

// press presses a button. payload may be nil.
func (w *world) press(company int64, eventType string, payload map[string]any) (p pressed, err error) {
	if payload == nil {
		if payload, err = w.sb.Sample(company, eventType, nil); err != nil {
			return p, err
		}
	}
	if p.id, err = w.sb.Press(company, eventType, payload); err != nil {
		return p, err
	}
	w.pressed(p.id)
	p.contract = sandbox.GetID(payload, "request_data.commitment.id")
	p.line = sandbox.GetID(payload, "request_data.commitment_items[].id")
	return p, nil
}

// check returns an error if an export was not done completely: its request detail is success, which was reported after its records
// were marked, and a commitment is booked once, with the booking's ids as its marks.
func (w *world) check(p pressed) error {
	req, _ := w.sb.Request(p.id)
	if req.Outcome() != sandbox.Success {
		return fmt.Errorf("it ended %s: %v", req.Outcome(), req.Details)
	}
	if len(req.TooEarly) > 0 {
		return errors.New(req.TooEarly[0])
	}
	if p.contract == 0 {
		return nil
	}
	booked := w.books.of(p.contract)
	if len(booked) != 1 || len(booked[0].Lines) != 1 {
		return fmt.Errorf("commitment %d has %d bookings", p.contract, len(booked))
	}
	marked, _ := w.sb.Record(req.CompanyID, "work_order_contract", p.contract)
	line, _ := w.sb.Record(req.CompanyID, "line_item", p.line)
	if marked.OriginID != booked[0].ID || line.OriginID != booked[0].Lines[0] {
		return fmt.Errorf("commitment %d is booked as %v, but marked as %q with the line %q", p.contract, booked[0], marked.OriginID, line.OriginID)
	}
	return nil
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
