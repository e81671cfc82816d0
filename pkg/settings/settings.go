// Package settings reads Tieback's environment: the same variables in one process and in
// separate services. Each is checked before anything starts.
package settings

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"go.uber.org/zap/zapcore"
)

// Settings are the variables, with their defaults filled in.
type Settings struct {
	Data            string        // TIEBACK_DATA: a folder for all that is kept
	NATSURL         string        // TIEBACK_NATS_URL; "": the embedded server
	NATSNKeyFile    string        // TIEBACK_NATS_NKEY_FILE: an nkey seed, read for each connect; "": none
	NATSCAFile      string        // TIEBACK_NATS_CA_FILE: PEM, whom to trust as the broker; "": the system's roots
	TopologyManaged bool          // TIEBACK_NATS_TOPOLOGY=managed: only the provisioner creates streams and consumers; with create each process does
	Replicas        int           // TIEBACK_NATS_REPLICAS: of every stream
	MaxBytes        uint64        // TIEBACK_NATS_MAX_BYTES: of all streams; 0: no end
	ProcoreAPIURL   string        // TIEBACK_PROCORE_API_URL
	ProcoreLoginURL string        // TIEBACK_PROCORE_LOGIN_URL
	Companies       string        // TIEBACK_COMPANIES: the companies file
	Webhooks        string        // TIEBACK_WEBHOOKS: the hashes of webhook tokens, for ingest; webhooks/webhooks.json beside the companies file
	IngestAddr      string        // TIEBACK_INGEST_ADDR
	AdminAddr       string        // TIEBACK_ADMIN_ADDR
	Routes          string        // TIEBACK_PROCORE_ROUTES: path overrides; "": none
	LogLevel        zapcore.Level // TIEBACK_LOG_LEVEL
	Deadline        time.Duration // TIEBACK_DEADLINE: an event that is not done by then is closed as failed
	SyncDeadline    time.Duration // TIEBACK_SYNC_DEADLINE: the same for syncs, which page through the ERP
	SweepEvery      time.Duration // TIEBACK_SWEEP_EVERY: between the sweeps of a company
	Traces          string        // TIEBACK_TRACES: URL of an OTLP collector; "": traces are off
}

// Load reads the variables through getenv (os.Getenv) and tells all that is wrong at once.
func Load(getenv func(string) string) (Settings, error) {
	get := func(name, otherwise string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	s := Settings{
		Data: DataFolder(getenv), NATSURL: getenv("TIEBACK_NATS_URL"),
		NATSNKeyFile: getenv("TIEBACK_NATS_NKEY_FILE"), NATSCAFile: getenv("TIEBACK_NATS_CA_FILE"),
		Traces:          getenv("TIEBACK_TRACES"),
		ProcoreAPIURL:   get("TIEBACK_PROCORE_API_URL", "https://api.procore.com"),
		ProcoreLoginURL: get("TIEBACK_PROCORE_LOGIN_URL", "https://login.procore.com"),
		Companies:       getenv("TIEBACK_COMPANIES"), Routes: getenv("TIEBACK_PROCORE_ROUTES"),
		IngestAddr: get("TIEBACK_INGEST_ADDR", ":8080"), AdminAddr: get("TIEBACK_ADMIN_ADDR", "127.0.0.1:9090"),
	}
	s.Webhooks = get("TIEBACK_WEBHOOKS", beside(s.Companies))
	var errs []error
	var err error
	if s.Replicas, err = strconv.Atoi(get("TIEBACK_NATS_REPLICAS", "1")); err != nil || s.Replicas < 1 || s.Replicas > 5 {
		errs = append(errs, errors.New("TIEBACK_NATS_REPLICAS: must be a number from 1 to 5"))
	}
	switch v := get("TIEBACK_NATS_TOPOLOGY", "create"); v {
	case "create", "managed":
		s.TopologyManaged = v == "managed"
	default:
		errs = append(errs, errors.New("TIEBACK_NATS_TOPOLOGY: must be create (each process creates the streams and consumers that are missing) or managed (only the provisioner creates them)"))
	}
	if s.MaxBytes, err = strconv.ParseUint(get("TIEBACK_NATS_MAX_BYTES", "0"), 10, 64); err != nil {
		errs = append(errs, errors.New("TIEBACK_NATS_MAX_BYTES: must be a number of bytes; 0 or unset is no end"))
	}
	if s.LogLevel, err = zapcore.ParseLevel(get("TIEBACK_LOG_LEVEL", "info")); err != nil {
		errs = append(errs, errors.New("TIEBACK_LOG_LEVEL: must be debug, info, warn or error"))
	}
	if s.Deadline, err = span("TIEBACK_DEADLINE", get("TIEBACK_DEADLINE", "15m")); err != nil {
		errs = append(errs, err)
	}
	if s.SyncDeadline, err = span("TIEBACK_SYNC_DEADLINE", get("TIEBACK_SYNC_DEADLINE", "2h")); err != nil {
		errs = append(errs, err)
	}
	if s.SweepEvery, err = span("TIEBACK_SWEEP_EVERY", get("TIEBACK_SWEEP_EVERY", "5m")); err != nil {
		errs = append(errs, err)
	}
	if s.Traces != "" {
		errs = append(errs, web("TIEBACK_TRACES", s.Traces))
	}
	errs = append(errs, addr("TIEBACK_INGEST_ADDR", s.IngestAddr), addr("TIEBACK_ADMIN_ADDR", s.AdminAddr),
		web("TIEBACK_PROCORE_API_URL", s.ProcoreAPIURL), web("TIEBACK_PROCORE_LOGIN_URL", s.ProcoreLoginURL))
	return s, errors.Join(errs...)
}

// beside is where the webhook hashes are unless TIEBACK_WEBHOOKS says otherwise. They have a folder of their
// own, so that a container can be given that folder alone.
func beside(companies string) string {
	if companies == "" {
		return ""
	}
	return filepath.Join(filepath.Dir(companies), "webhooks", "webhooks.json")
}

// DataFolder is TIEBACK_DATA, or .tieback.
func DataFolder(getenv func(string) string) string {
	if v := getenv("TIEBACK_DATA"); v != "" {
		return v
	}
	return ".tieback"
}

// span reads a time span. A deadline of less than a minute is for rehearsals only, but makes sense.
func span(name, v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil || d < time.Second {
		return 0, fmt.Errorf("%s: %q is no time span of at least 1s; write it as 15m or 2h", name, v)
	}
	return d, nil
}

func addr(name, v string) error {
	if _, _, err := net.SplitHostPort(v); err != nil {
		return fmt.Errorf("%s: %q is no address to listen on; write it as :8080 or 127.0.0.1:8080", name, v)
	}
	return nil
}

func web(name, v string) error {
	if u, err := url.Parse(v); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("%s: %q is not an http or https URL", name, v)
	}
	return nil
}
