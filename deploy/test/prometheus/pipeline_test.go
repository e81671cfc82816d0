package prometheus

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/telemetry"
	"github.com/tieback/tieback/services/lag-exporter"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// exported returns the metrics of a pipeline that has closed events, retried some and been swept, so that every metric has a
// series. It runs once for all tests.
func exported(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	once.Do(func() { families = play(t) })
	if len(families) == 0 {
		t.Fatal("the pipeline failed: see the first test")
	}
	return families
}

var (
	once     sync.Once
	families []*dto.MetricFamily

	descriptions []*prometheus.Desc // of all metrics that the pipeline registers
)

func describe(registries ...*prometheus.Registry) (all []*prometheus.Desc) {
	for _, r := range registries {
		descs := make(chan *prometheus.Desc)
		go func() { r.Describe(descs); close(descs) }()
		for d := range descs {
			all = append(all, d)
		}
	}
	return all
}

// scraped has the registries of the pipeline, each of which Prometheus scrapes.
type scraped []prometheus.Gatherer

func (s scraped) gather() ([]*dto.MetricFamily, error) {
	var all []*dto.MetricFamily
	for _, g := range s {
		some, err := g.Gather()
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func play(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	secrets := local.NewSecrets()
	box := sandbox.New(sandbox.Config{Speed: 60})
	must(t, box.AddCompany(sandbox.Company{
		ID: local.CompanyID, Name: "Acme Builders", ClientID: local.ClientID, ClientSecret: secrets.ClientSecret,
		WebhookURL: "http://" + l.Addr().String() + "/webhooks/procore/598134325841112", WebhookToken: secrets.WebhookToken,
		StandardCostCodeListID: local.CostCodeList,
	}))
	procore := httptest.NewServer(troubled(box.Handler()))
	defer procore.Close()
	pl, err := local.Open(ctx, local.Parts{
		Data: t.TempDir(), ProcoreURL: procore.URL, AdminAddr: "127.0.0.1:0", LogLevel: zapcore.FatalLevel, Backoff: 10 * time.Millisecond, Secrets: secrets,
	})
	must(t, err)
	defer pl.Close()
	apart := prometheus.NewRegistry() // as in lag-exporter
	exporter, err := lagexporter.New(lagexporter.Deps{Log: zap.NewNop(), Every: 50 * time.Millisecond, MaxBytes: 1 << 30}, apart)
	must(t, err)
	must(t, apart.Register(telemetry.BuildInfo("lag-exporter")))

	running, end := context.WithCancel(ctx)
	g, running := errgroup.WithContext(running)
	g.Go(func() error { return box.Run(running) })
	g.Go(func() error { return pl.Run(running, l) })
	g.Go(func() error { return exporter.Run(running, pl.Bus) })
	defer func() {
		end()
		must(t, g.Wait())
	}()
	for _, event := range []string{"create_vendor", "sync_vendors"} {
		request, err := box.Press(local.CompanyID, event, nil)
		must(t, err)
		if _, err = box.Wait(ctx, request); err != nil {
			t.Fatalf("%s: %v", event, err)
		}
	}
	all := scraped{pl.Registry, apart}
	for !all.has("tieback_close_out_seconds", "tieback_sweeps_total", "tieback_dead_letters_open", "tieback_consumer_lag_messages", "tieback_attempt_failures_total") {
		if ctx.Err() != nil {
			t.Fatalf("some metrics are not exported within a minute")
		}
		time.Sleep(20 * time.Millisecond)
	}
	descriptions = describe(pl.Registry, apart)
	out, err := all.gather()
	must(t, err)
	return out
}

func (s scraped) has(names ...string) bool {
	all, err := s.gather()
	if err != nil {
		return false
	}
	there := map[string]bool{}
	for _, f := range all {
		there[f.GetName()] = true
	}
	for _, n := range names {
		if !there[n] {
			return false
		}
	}
	return true
}

// troubled is a Procore that fails the first call that reads an ERP request.
func troubled(h http.Handler) http.Handler {
	var asked atomic.Bool
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "erp_requests") && asked.CompareAndSwap(false, true) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "{}")
			return
		}
		h.ServeHTTP(w, r)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
