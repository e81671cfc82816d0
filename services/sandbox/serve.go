package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// Main runs a sandbox as a process until ctx ends. It reads these environment variables:
//
//	SANDBOX_ADDR       the address to listen on; :8081
//	SANDBOX_COMPANIES  path of a YAML or JSON file: {"companies": [Company, …]}
//	SANDBOX_SPEED, SANDBOX_SEED, SANDBOX_HOURLY_LIMIT, SANDBOX_SPIKE_LIMIT,
//	SANDBOX_API_VERSION, SANDBOX_DUPLICATE_FRACTION, SANDBOX_CALL_LOG  as in Config
//	SANDBOX_LIMITS_PER client or company: whose calls a rate limit counts if companies share a client; client
func Main(ctx context.Context, getenv func(string) string) error {
	cfg, err := configFrom(getenv)
	if err != nil {
		return err
	}
	companies, err := loadCompanies(getenv("SANDBOX_COMPANIES"))
	if err != nil {
		return err
	}
	sb := New(cfg)
	for _, c := range companies {
		if err := sb.AddCompany(c); err != nil {
			return fmt.Errorf("SANDBOX_COMPANIES: %w", err)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cmp.Or(getenv("SANDBOX_ADDR"), ":8081"))
	if err != nil {
		return fmt.Errorf("SANDBOX_ADDR: %w", err)
	}
	return sb.serve(ctx, listener)
}

// serve runs the server and the deliveries until ctx ends or the server fails.
func (sb *Sandbox) serve(ctx context.Context, listener net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := &http.Server{Handler: sb.Handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() {
		defer stop()
		served <- server.Serve(listener)
	}()
	delivered := sb.Run(ctx)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if server.Shutdown(grace) != nil {
		_ = server.Close() // FaultHang leaves calls open
	}
	err := <-served
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, delivered)
}

// loadCompanies reads a companies file of the sandbox in YAML or JSON.
func loadCompanies(path string) ([]Company, error) {
	if path == "" {
		return nil, errors.New("SANDBOX_COMPANIES is not set: set it to the path of a file with {\"companies\": [{id, name, client_id, client_secret, webhook_url, webhook_token}]}")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("SANDBOX_COMPANIES: %w", err)
	}
	var file struct {
		Companies []Company `yaml:"companies"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("SANDBOX_COMPANIES: %s: %w", path, err)
	}
	if len(file.Companies) == 0 {
		return nil, fmt.Errorf("SANDBOX_COMPANIES: %s lists no companies: add at least one", path)
	}
	return file.Companies, nil
}

func configFrom(getenv func(string) string) (Config, error) {
	cfg := Config{APIVersion: getenv("SANDBOX_API_VERSION")}
	var errs []error
	for name, to := range map[string]*int{
		"SANDBOX_HOURLY_LIMIT": &cfg.HourlyLimit, "SANDBOX_SPIKE_LIMIT": &cfg.SpikeLimit,
		"SANDBOX_CALL_LOG": &cfg.CallLog,
	} {
		if v := getenv(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %q is not an integer", name, v))
			}
			*to = n
		}
	}
	switch v := getenv("SANDBOX_LIMITS_PER"); v {
	case "", "client":
	case "company":
		cfg.LimitsPerCompany = true
	default:
		errs = append(errs, fmt.Errorf("SANDBOX_LIMITS_PER: %q is neither client nor company", v))
	}
	for name, to := range map[string]*float64{"SANDBOX_SPEED": &cfg.Speed, "SANDBOX_DUPLICATE_FRACTION": &cfg.DuplicateFraction} {
		if v := getenv(name); v != "" {
			n, err := strconv.ParseFloat(v, 64)
			if err != nil || n <= 0 {
				errs = append(errs, fmt.Errorf("%s: %q is not a positive number", name, v))
			}
			*to = n
		}
	}
	if v := getenv("SANDBOX_SEED"); v != "" {
		seed, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			errs = append(errs, fmt.Errorf("SANDBOX_SEED: %q is not a non-negative integer", v))
		}
		cfg.Seed = seed
	}
	return cfg, errors.Join(errs...)
}
