// Package local opens a pipeline for one company of a sandbox, on this machine. The demo, the benchmark and the tests use it.
package local

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/services/tieback/run"
)

// The company. Its id does not fit 32 bits or a float32.
const (
	CompanyID    = 598134325841112
	CostCodeList = 2
	ClientID     = "demo"
)

// Parts are the settings of Open.
type Parts struct {
	Data       string // directory of the companies file, the broker and the books
	ProcoreURL string
	AdminAddr  string // host:port of metrics and health; port 0: any free port
	LogLevel   zapcore.Level
	Backoff    time.Duration     // before the second attempt
	NATSURL    string            // "": the embedded broker
	Connector  map[string]string // the company's connector section; nil: the embedded ledger
	Drivers    connector.Drivers // that Connector may name in addition to the ledger; may be nil
	Secrets    Secrets
}

// Secrets are the secrets of the company.
type Secrets struct{ ClientSecret, WebhookToken string }

// NewSecrets returns random secrets.
func NewSecrets() Secrets {
	return Secrets{ClientSecret: rand.Text(), WebhookToken: rand.Text()}
}

// Open opens a pipeline. It configures the pipeline as users do, by a companies file and environment variables.
func Open(ctx context.Context, parts Parts) (*run.Pipeline, error) {
	path, err := companiesFile(parts)
	if err != nil {
		return nil, err
	}
	env := map[string]string{
		"TIEBACK_DATA": parts.Data, "TIEBACK_COMPANIES": path, "TIEBACK_NATS_URL": parts.NATSURL,
		"TIEBACK_PROCORE_API_URL": parts.ProcoreURL, "TIEBACK_PROCORE_LOGIN_URL": parts.ProcoreURL,
		"TIEBACK_ADMIN_ADDR": parts.AdminAddr, "TIEBACK_LOG_LEVEL": parts.LogLevel.String(),
	}
	p, err := tenant.Load("tieback", func(name string) string { return env[name] }, tenant.AllCompanies)
	if err != nil {
		return nil, err
	}
	p.Backoff = parts.Backoff
	return run.Open(ctx, p, parts.Drivers)
}

func companiesFile(parts Parts) (string, error) {
	if err := os.MkdirAll(parts.Data, 0o700); err != nil {
		return "", err
	}
	if parts.Connector == nil {
		parts.Connector = map[string]string{"driver": "ledger"}
	}
	settings, err := json.Marshal(parts.Connector) // JSON is YAML as well
	if err != nil {
		return "", err
	}
	path := filepath.Join(parts.Data, "companies.yaml")
	text := fmt.Sprintf(`companies:
  - id: %d
    name: Acme Builders
    client_id: %s
    client_secret: %s
    webhook_tokens: [%s]
    standard_cost_code_list_id: %d
    connector: %s
`, CompanyID, ClientID, parts.Secrets.ClientSecret, parts.Secrets.WebhookToken, CostCodeList, settings)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// WebhookURL returns the URL to which Procore delivers for the company, if ingest serves on l.
func WebhookURL(l net.Listener) string {
	return fmt.Sprintf("http://%s/webhooks/procore/%d", l.Addr(), int64(CompanyID))
}

// Serve serves h on a free loopback port until ctx ends, and returns its URL.
func Serve(ctx context.Context, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	go func() { _ = srv.Serve(l) }() // ends with Close
	return "http://" + l.Addr().String(), nil
}
