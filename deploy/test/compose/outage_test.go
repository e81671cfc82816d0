package compose

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// The broker is killed during 200 vendor exports and started again. Nothing is lost or booked twice, and ingest answers 503
// while the broker is down.
func TestBrokerIsKilledUnderLoad(t *testing.T) {
	broker := startBroker(t)
	p := startPipeline(t, broker.url)

	before := p.press(t, 100)
	p.wait(t, before[:20]) // every stage has work
	broker.kill(t)
	p.front.down(true)
	during := p.press(t, 60)
	p.answersByHand(t, during[0], http.StatusServiceUnavailable)
	time.Sleep(time.Second) // time for deliveries of the sandbox
	p.front.down(false)
	broker.start(t)
	after := p.press(t, 40)

	p.wait(t, before)
	p.wait(t, during)
	p.wait(t, after)
	p.front.check(t)
	p.checkBooks(t, 200)
	p.answersByHand(t, during[0], http.StatusOK) // a duplicate
	p.checkBooks(t, 200)
}

// pipeline is Tieback in this process, without the broker, and a simulated Procore.
type pipeline struct {
	sandbox *sandbox.Sandbox
	books   *ledger.Books
	front   *front
	token   string
}

func startPipeline(t *testing.T, natsURL string) *pipeline {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secrets := local.NewSecrets()
	p := &pipeline{
		// An hour of Procore's backoff lasts 20 s; no delivery is discarded during the test.
		sandbox: sandbox.New(sandbox.Config{Speed: 180, HourlyLimit: -1, SpikeLimit: -1, APIVersion: sandbox.Rotate, DuplicateFraction: 0.15}),
		front:   newFront(t, l), token: secrets.WebhookToken,
	}
	err = p.sandbox.AddCompany(sandbox.Company{
		ID: local.CompanyID, Name: "Acme Builders", ClientID: local.ClientID, ClientSecret: secrets.ClientSecret,
		WebhookURL: p.front.url, WebhookToken: secrets.WebhookToken, StandardCostCodeListID: local.CostCodeList,
	})
	if err != nil {
		t.Fatal(err)
	}
	procore := httptest.NewServer(p.sandbox.Handler())
	t.Cleanup(procore.Close)
	pl, err := local.Open(t.Context(), local.Parts{
		Data: t.TempDir(), ProcoreURL: procore.URL, AdminAddr: "127.0.0.1:0", LogLevel: zapcore.FatalLevel,
		Backoff: 50 * time.Millisecond, NATSURL: natsURL, Secrets: secrets,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pl.Close)
	if p.books, err = pl.Ledger.Company(t.Context(), local.CompanyID); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.sandbox.Run(ctx) })
	g.Go(func() error { return pl.Run(ctx, l) })
	t.Cleanup(func() {
		stop()
		if err := g.Wait(); err != nil {
			t.Errorf("the pipeline ended with %v", err)
		}
	})
	return p
}

func (p *pipeline) press(t *testing.T, n int) []int64 {
	t.Helper()
	ids := make([]int64, n)
	for i := range ids {
		var err error
		if ids[i], err = p.sandbox.Press(local.CompanyID, "create_vendor", nil); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

// wait waits until Procore shows each request as succeeded.
func (p *pipeline) wait(t *testing.T, requests []int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for _, id := range requests {
		req, err := p.sandbox.Wait(ctx, id)
		if err != nil {
			t.Fatalf("request %d is lost: %v after 3 min", id, err)
		}
		if req.Outcome() != sandbox.Success {
			t.Errorf("request %d ended %s: %v", id, req.Outcome(), req.Details)
		}
	}
}

func (p *pipeline) checkBooks(t *testing.T, want int) {
	t.Helper()
	vendors, err := p.books.All(t.Context(), ledger.Vendor)
	if err != nil {
		t.Fatal(err)
	}
	doubles, err := p.books.Duplicates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(vendors) != want || len(doubles) != 0 {
		t.Errorf("the books have %d vendors and %d doubles %v; want %d and none", len(vendors), len(doubles), doubles, want)
	}
}

// answersByHand delivers a request as Procore does, and compares the status.
func (p *pipeline) answersByHand(t *testing.T, request int64, want int) {
	t.Helper()
	body := fmt.Sprintf(`{"id": 1, "company_id": %d, "resource_name": "ERP Requests", "resource_id": %d, "event_type": "create"}`, int64(local.CompanyID), request)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.front.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		t.Errorf("ingest answered %s to request %d, want %d", resp.Status, request, want)
	}
}

// front is a proxy of ingest that counts its answers while the broker is down.
type front struct {
	url string

	mu     sync.Mutex
	outage int         // incremented when the broker is stopped or started: odd while it is down
	while  map[int]int // requests that began and ended in one outage, by status
}

func newFront(t *testing.T, ingest net.Listener) *front {
	f := &front{while: map[int]int{}}
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: ingest.Addr().String()})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := f.now()
		noted := &status{ResponseWriter: w}
		behind.ServeHTTP(noted, r)
		f.note(began, noted.code)
	}))
	t.Cleanup(srv.Close)
	f.url = strings.Replace(local.WebhookURL(ingest), "http://"+ingest.Addr().String(), srv.URL, 1)
	return f
}

func (f *front) now() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.outage
}

func (f *front) note(began, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if began == f.outage && began%2 == 1 {
		f.while[code]++
	}
}

// down records that the broker is down from now on, or no longer.
func (f *front) down(is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if (f.outage%2 == 1) != is {
		f.outage++
	}
}

func (f *front) check(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	t.Logf("ingest's answers while the broker was down: %v", f.while)
	if len(f.while) != 1 || f.while[http.StatusServiceUnavailable] < 2 {
		t.Errorf("ingest answered %v while the broker was down; want only 503, and at least two", f.while)
	}
}

// status records the status that was written.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}
