// Package settings reads Tieback's environment: the same variables in one process and in
// separate services. Each is checked before anything starts.
package settings

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"go.uber.org/zap/zapcore"
)

// Settings are the variables, with their defaults filled in.
type Settings struct {
	Data            string        // TIEBACK_DATA: a folder for all that is kept
	NATSURL         string        // TIEBACK_NATS_URL; "": the embedded server
	Replicas        int           // TIEBACK_NATS_REPLICAS: of every stream
	ProcoreAPIURL   string        // TIEBACK_PROCORE_API_URL
	ProcoreLoginURL string        // TIEBACK_PROCORE_LOGIN_URL
	Companies       string        // TIEBACK_COMPANIES: the companies file
	IngestAddr      string        // TIEBACK_INGEST_ADDR
	AdminAddr       string        // TIEBACK_ADMIN_ADDR
	Routes          string        // TIEBACK_PROCORE_ROUTES: path overrides; "": none
	LogLevel        zapcore.Level // TIEBACK_LOG_LEVEL
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
		ProcoreAPIURL:   get("TIEBACK_PROCORE_API_URL", "https://api.procore.com"),
		ProcoreLoginURL: get("TIEBACK_PROCORE_LOGIN_URL", "https://login.procore.com"),
		Companies:       getenv("TIEBACK_COMPANIES"), Routes: getenv("TIEBACK_PROCORE_ROUTES"),
		IngestAddr: get("TIEBACK_INGEST_ADDR", ":8080"), AdminAddr: get("TIEBACK_ADMIN_ADDR", ":9090"),
	}
	var errs []error
	var err error
	if s.Replicas, err = strconv.Atoi(get("TIEBACK_NATS_REPLICAS", "1")); err != nil || s.Replicas < 1 || s.Replicas > 5 {
		errs = append(errs, errors.New("TIEBACK_NATS_REPLICAS: must be a number from 1 to 5"))
	}
	if s.LogLevel, err = zapcore.ParseLevel(get("TIEBACK_LOG_LEVEL", "info")); err != nil {
		errs = append(errs, errors.New("TIEBACK_LOG_LEVEL: must be debug, info, warn or error"))
	}
	errs = append(errs, addr("TIEBACK_INGEST_ADDR", s.IngestAddr), addr("TIEBACK_ADMIN_ADDR", s.AdminAddr),
		web("TIEBACK_PROCORE_API_URL", s.ProcoreAPIURL), web("TIEBACK_PROCORE_LOGIN_URL", s.ProcoreLoginURL))
	return s, errors.Join(errs...)
}

// DataFolder is TIEBACK_DATA, or .tieback.
func DataFolder(getenv func(string) string) string {
	if v := getenv("TIEBACK_DATA"); v != "" {
		return v
	}
	return ".tieback"
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
