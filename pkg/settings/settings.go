// Package settings reads and validates Tieback's environment variables. They are the same for one process and for separate
// services.
package settings

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// The variables by which a command finds a console.
const (
	ConsoleURL       = "TIEBACK_URL"        // address of the console that the commands ask; "": the one of this machine
	ConsoleToken     = "TIEBACK_TOKEN"      // the token that they send
	ConsoleTokenFile = "TIEBACK_TOKEN_FILE" // file with the token
)

// Settings are the values of the variables, with defaults applied.
type Settings struct {
	Data            string             // TIEBACK_DATA: the data folder
	NATSURL         string             // TIEBACK_NATS_URL; "": the embedded server
	NATSNKeyFile    string             // TIEBACK_NATS_NKEY_FILE: nkey seed, read at each connect; "": none
	NATSCAFile      string             // TIEBACK_NATS_CA_FILE: PEM certificates to verify the broker with; "": the system's roots
	TopologyManaged bool               // TIEBACK_NATS_TOPOLOGY=managed: only the provisioner creates streams and consumers; with create each process does
	Replicas        int                // TIEBACK_NATS_REPLICAS: of every stream
	MaxBytes        uint64             // TIEBACK_NATS_MAX_BYTES: of all streams together; 0: unlimited
	BrokerMemory    uint64             // TIEBACK_NATS_MEMORY: of a node of the broker, in bytes; 0: not known
	Retention       topology.Retention // TIEBACK_RETENTION_…, by kind; 0 (keep): as the streams have it
	ProcoreAPIURL   string             // TIEBACK_PROCORE_API_URL
	ProcoreLoginURL string             // TIEBACK_PROCORE_LOGIN_URL
	Companies       string             // TIEBACK_COMPANIES: the companies file
	Webhooks        string             // TIEBACK_WEBHOOKS: hashes of webhook tokens, for ingest; default webhooks/webhooks.json beside the companies file
	IngestAddr      string             // TIEBACK_INGEST_ADDR
	AdminAddr       string             // TIEBACK_ADMIN_ADDR
	ConsoleAddr     string             // TIEBACK_CONSOLE_ADDR: of the console's pages and API; "off": no console
	ConsoleAccess   string             // TIEBACK_CONSOLE_ACCESS: the file that says who may use the console; "": a user with a one-time link, on loopback only
	ConsoleNotify   string             // TIEBACK_CONSOLE_NOTIFY: the file of those whom the console notifies; "": nobody
	ConsoleKeep     time.Duration      // TIEBACK_CONSOLE_KEEP: how long the console's index keeps a request after its last message
	Routes          string             // TIEBACK_PROCORE_ROUTES: path overrides; "": none
	LogLevel        zapcore.Level      // TIEBACK_LOG_LEVEL
	Deadline        time.Duration      // TIEBACK_DEADLINE: time until an unfinished event is closed as failed
	SyncDeadline    time.Duration      // TIEBACK_SYNC_DEADLINE: the same for syncs
	SweepEvery      time.Duration      // TIEBACK_SWEEP_EVERY: interval between sweeps of a company
	Traces          string             // TIEBACK_TRACES: URL of an OTLP collector; "": no traces
}

// Load reads the variables with getenv, usually os.Getenv. Its error lists all invalid variables.
func Load(getenv func(string) string) (Settings, error) {
	get := func(name, fallback string) string { return cmp.Or(getenv(name), fallback) }
	s := Settings{
		Data: DataFolder(getenv), NATSURL: getenv("TIEBACK_NATS_URL"),
		NATSNKeyFile: getenv("TIEBACK_NATS_NKEY_FILE"), NATSCAFile: getenv("TIEBACK_NATS_CA_FILE"),
		Traces:          getenv("TIEBACK_TRACES"),
		ProcoreAPIURL:   get("TIEBACK_PROCORE_API_URL", "https://api.procore.com"),
		ProcoreLoginURL: get("TIEBACK_PROCORE_LOGIN_URL", "https://login.procore.com"),
		Companies:       getenv("TIEBACK_COMPANIES"), Routes: getenv("TIEBACK_PROCORE_ROUTES"),
		ConsoleAddr: get("TIEBACK_CONSOLE_ADDR", "127.0.0.1:8090"), ConsoleAccess: getenv("TIEBACK_CONSOLE_ACCESS"), ConsoleNotify: getenv("TIEBACK_CONSOLE_NOTIFY"),
		IngestAddr: get("TIEBACK_INGEST_ADDR", ":8080"), AdminAddr: get("TIEBACK_ADMIN_ADDR", "127.0.0.1:9090"),
	}
	s.Webhooks = get("TIEBACK_WEBHOOKS", defaultWebhooks(s.Companies))
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
		errs = append(errs, errors.New("TIEBACK_NATS_MAX_BYTES: must be a number of bytes; 0 or unset means unlimited"))
	}
	if s.BrokerMemory, err = strconv.ParseUint(get("TIEBACK_NATS_MEMORY", "0"), 10, 64); err != nil {
		errs = append(errs, errors.New("TIEBACK_NATS_MEMORY: must be a number of bytes; 0 or unset means that it is not known"))
	}
	if s.LogLevel, err = zapcore.ParseLevel(get("TIEBACK_LOG_LEVEL", "info")); err != nil {
		errs = append(errs, errors.New("TIEBACK_LOG_LEVEL: must be debug, info, warn or error"))
	}
	duration := func(name, fallback string) time.Duration { // deadlines of less than a minute are for tests
		v := get(name, fallback)
		d, err := time.ParseDuration(v)
		if err != nil || d < time.Second {
			errs = append(errs, fmt.Errorf("%s: %q is not a duration of at least 1s; write it as 15m or 2h", name, v))
		}
		return d
	}
	keep := func(kind topology.Kind) time.Duration {
		name := "TIEBACK_RETENTION_" + strings.ToUpper(string(kind))
		if get(name, "keep") == "keep" {
			return 0
		}
		return duration(name, "")
	}
	s.Deadline, s.SyncDeadline, s.SweepEvery = duration("TIEBACK_DEADLINE", "15m"), duration("TIEBACK_SYNC_DEADLINE", "2h"), duration("TIEBACK_SWEEP_EVERY", "5m")
	s.ConsoleKeep = duration("TIEBACK_CONSOLE_KEEP", "8784h")
	s.Retention = topology.Retention{Delivery: keep(topology.Delivery), Event: keep(topology.Event), Outcome: keep(topology.Outcome), Closed: keep(topology.Closed)}
	if len(errs) == 0 { // otherwise a wrong duration would be named twice
		errs = append(errs, s.Retention.Check(max(s.Deadline, s.SyncDeadline)))
	}
	if s.Traces != "" {
		errs = append(errs, web("TIEBACK_TRACES", s.Traces))
	}
	if s.ConsoleAddr != "off" {
		errs = append(errs, addr("TIEBACK_CONSOLE_ADDR", s.ConsoleAddr))
	}
	errs = append(errs, addr("TIEBACK_INGEST_ADDR", s.IngestAddr), addr("TIEBACK_ADMIN_ADDR", s.AdminAddr),
		web("TIEBACK_PROCORE_API_URL", s.ProcoreAPIURL), web("TIEBACK_PROCORE_LOGIN_URL", s.ProcoreLoginURL))
	return s, errors.Join(errs...)
}

// defaultWebhooks returns the default of TIEBACK_WEBHOOKS. The file has its own folder, so that a container can mount only
// that folder.
func defaultWebhooks(companies string) string {
	if companies == "" {
		return ""
	}
	return filepath.Join(filepath.Dir(companies), "webhooks", "webhooks.json")
}

// DataFolder returns TIEBACK_DATA, or .tieback if it is not set.
func DataFolder(getenv func(string) string) string { return cmp.Or(getenv("TIEBACK_DATA"), ".tieback") }

func addr(name, v string) error {
	if _, _, err := net.SplitHostPort(v); err != nil {
		return fmt.Errorf("%s: %q is not an address to listen on; write it as :8080 or 127.0.0.1:8080", name, v)
	}
	return nil
}

func web(name, v string) error {
	if u, err := url.Parse(v); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("%s: %q is not an http or https URL", name, v)
	}
	return nil
}
