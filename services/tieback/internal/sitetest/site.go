// Package sitetest helps the tests of `tieback setup` and `tieback doctor`: it has a sandbox of Procore with one company,
// and runs the commands and the pipeline against it. Only tests import it.
package sitetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/setup"
)

// The company. Its id does not fit 32 bits or a float32.
const (
	ID           int64 = 598134325841112
	ClientSecret       = "client-secret-0123456789abcdef"
)

// Site is a sandbox with a company that is not connected yet, and a directory for its companies file. At the end of the
// test it fails the test if a command printed one of Secrets, or if a request was not as Procore publishes.
type Site struct {
	*testing.T
	Sandbox *sandbox.Sandbox
	API     string // the URL of the sandbox
	Secrets []string

	dir     string
	ingest  string // host:port
	printed bytes.Buffer
}

// New returns a site. It sets the environment of the commands until the end of the test.
func New(t *testing.T, cfg sandbox.Config) *Site {
	t.Helper()
	cfg.Speed, cfg.HourlyLimit, cfg.SpikeLimit = 60, -1, -1
	s := &Site{T: t, Sandbox: sandbox.New(cfg), dir: t.TempDir(), Secrets: []string{ClientSecret}}
	s.Must(s.Sandbox.AddCompany(sandbox.Company{ID: ID, Name: "Acme", ClientID: "client", ClientSecret: ClientSecret, StandardCostCodeListID: 2}))
	s.API = s.Serve(s.Sandbox.Handler())
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Sandbox.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		for _, v := range s.Sandbox.Violations() {
			t.Errorf("not as Procore publishes: %s", v)
		}
	})
	s.ingest = FreePort(t)
	s.Write("acme.secret", ClientSecret+"\n")
	for name, value := range map[string]string{
		"TIEBACK_COMPANIES": s.Path("companies.yaml"), "TIEBACK_DATA": s.Path("data"), "TIEBACK_NATS_URL": "",
		"TIEBACK_PROCORE_API_URL": s.API, "TIEBACK_PROCORE_LOGIN_URL": s.API, "TIEBACK_PROCORE_ROUTES": "",
		"TIEBACK_INGEST_ADDR": s.ingest, "TIEBACK_ADMIN_ADDR": "127.0.0.1:0",
	} {
		t.Setenv(name, value)
	}
	t.Cleanup(s.checkSecrets)
	return s
}

// Serve serves h until the end of the test and returns its URL.
func (s *Site) Serve(h http.Handler) string {
	s.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.Must(err)
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(l) })
	s.Cleanup(func() { _ = srv.Close(); running.Wait(); http.DefaultClient.CloseIdleConnections() })
	return "http://" + l.Addr().String()
}

// FreePort returns the host:port of a port that is free.
func FreePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Must ends the test on an error.
func (s *Site) Must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// Path returns the path of a file of the site.
func (s *Site) Path(name string) string { return filepath.Join(s.dir, name) }

// Write writes a file of the site.
func (s *Site) Write(name, text string) {
	s.Helper()
	s.Must(os.WriteFile(s.Path(name), []byte(text), 0o600))
}

// Text returns the content of a file of the site.
func (s *Site) Text(name string) string {
	s.Helper()
	raw, err := os.ReadFile(s.Path(name))
	s.Must(err)
	return string(raw)
}

// Files returns the names of all files of the site, without the broker's.
func (s *Site) Files() string {
	s.Helper()
	var names []string
	s.Must(filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
		if path == s.Path("nats") {
			return filepath.SkipDir
		}
		names = append(names, path)
		return err
	}))
	return strings.Join(names, "\n")
}

// URL returns the base URL of ingest.
func (s *Site) URL() string { return "http://" + s.ingest }

// Setup runs `tieback setup` and returns its exit code and its output.
func (s *Site) Setup(args ...string) (code int, out string) {
	s.Helper()
	var b bytes.Buffer
	cmd := setup.Command()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetOut(&b)
	cmd.SetErr(&b)
	cmd.SetIn(strings.NewReader(""))
	cmd.SetArgs(append([]string{"--company", fmt.Sprint(ID)}, args...))
	err := cmd.ExecuteContext(s.Context())
	switch {
	case errors.Is(err, setup.ErrFailed):
		code = 1
	case err != nil:
		code = 2
		fmt.Fprintf(&b, "tieback: %v\n", err)
	}
	s.printed.Write(b.Bytes())
	return code, b.String()
}

// Credentials returns the flags that the first setup needs.
func (s *Site) Credentials() []string {
	return []string{"--url", s.URL(), "--name", "Acme Builders", "--client-id", "client", "--client-secret-file", s.Path("acme.secret"), "--connector", "driver=ledger"}
}

// Expect runs setup and ends the test unless it has this exit code and its output contains says.
func (s *Site) Expect(code int, says string, args ...string) string {
	s.Helper()
	got, out := s.Setup(args...)
	if got != code || !strings.Contains(out, says) {
		s.Fatalf("tieback setup %s: exit code %d, want %d and %q\n%s", strings.Join(args, " "), got, code, says, out)
	}
	return out
}

// Connect connects the company and checks the result.
func (s *Site) Connect() {
	s.Helper()
	s.Expect(0, "done: create trigger", append(s.Credentials(), "--yes")...)
	s.CheckSound()
}

// Tokens returns the current webhook tokens, the newest last.
func (s *Site) Tokens() []string {
	s.Helper()
	tokens := strings.Fields(s.Text(fmt.Sprintf("%d.webhook-tokens", ID)))
	s.Secrets = append(s.Secrets, tokens...)
	return tokens
}

// CheckSound checks that Procore has one hook, one trigger and a connection, and that another setup changes nothing.
func (s *Site) CheckSound() {
	s.Helper()
	hooks := s.Hooks()
	if len(hooks) != 1 {
		s.Fatalf("%d hooks: %v", len(hooks), hooks)
	}
	tokens := s.Tokens()
	h := hooks[0]
	if h["destination_url"] != fmt.Sprintf("%s/webhooks/procore/%d", s.URL(), ID) || h["namespace"] != "tieback" || s.HookToken() != tokens[len(tokens)-1] {
		s.Errorf("the hook is %v", h)
	}
	if triggers := s.Triggers(h["id"]); len(triggers) != 1 || triggers[0]["resource_name"] != "ERP Requests" || triggers[0]["event_type"] != "CREATE" {
		s.Errorf("the triggers are %v", triggers)
	}
	if !strings.Contains(s.Text("companies.yaml"), "standard_cost_code_list_id: 2\n") || s.Sandbox.Metadata(ID) == nil {
		s.Errorf("no connection: %s", s.Text("companies.yaml"))
	}
	before := len(s.Sandbox.Writes())
	if len(tokens) == 1 {
		s.Expect(0, "Nothing to change.")
	}
	if n := len(s.Sandbox.Writes()); n != before {
		s.Errorf("a run that changes nothing wrote %d times to Procore", n-before)
	}
}

// Call calls Procore's API with the company's credentials.
func (s *Site) Call(method, path, body string) (int, string) {
	s.Helper()
	login, err := http.Post(s.API+"/oauth/token", "application/json",
		strings.NewReader(fmt.Sprintf(`{"grant_type":"client_credentials","client_id":"client","client_secret":%q}`, ClientSecret)))
	s.Must(err)
	var token struct {
		Value string `json:"access_token"`
	}
	s.Must(json.NewDecoder(login.Body).Decode(&token))
	s.Must(login.Body.Close())
	s.Secrets = append(s.Secrets, token.Value)
	req, err := http.NewRequestWithContext(s.Context(), method, s.API+path, strings.NewReader(body))
	s.Must(err)
	req.Header.Set("Authorization", "Bearer "+token.Value)
	req.Header.Set("Procore-Company-Id", fmt.Sprint(ID))
	resp, err := http.DefaultClient.Do(req)
	s.Must(err)
	raw, err := io.ReadAll(resp.Body)
	s.Must(errors.Join(err, resp.Body.Close()))
	return resp.StatusCode, string(raw)
}

func (s *Site) list(path string) (items []map[string]any) {
	s.Helper()
	status, raw := s.Call("GET", path, "")
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&items); err != nil || status != http.StatusOK {
		s.Fatalf("%s: %d %s", path, status, raw)
	}
	return items
}

// Hooks returns the company's hooks as Procore lists them.
func (s *Site) Hooks() []map[string]any {
	return s.list(fmt.Sprintf("/rest/v1.0/webhooks/hooks?company_id=%d", ID))
}

// Triggers returns the triggers of a hook.
func (s *Site) Triggers(hook any) []map[string]any {
	return s.list(fmt.Sprintf("/rest/v1.0/webhooks/hooks/%v/triggers?company_id=%d", hook, ID))
}

// Change makes a call that must succeed.
func (s *Site) Change(method, path, body string) {
	s.Helper()
	if method == http.MethodDelete {
		path += fmt.Sprintf("?company_id=%d", ID)
	}
	if status, raw := s.Call(method, path, body); status >= 300 {
		s.Fatalf("%s %s: %d %s", method, path, status, raw)
	}
}

// checkSecrets checks the output of all commands.
func (s *Site) checkSecrets() {
	for _, secret := range s.Secrets {
		if strings.Contains(s.printed.String(), secret) {
			s.Errorf("a secret was printed: %s", secret)
		}
	}
}

// Start starts the whole pipeline. It runs until stop is called or the test ends.
func (s *Site) Start() (stop func()) {
	s.Helper()
	p, err := tenant.Load("tieback", os.Getenv, tenant.AllCompanies)
	s.Must(err)
	p.Log, p.Backoff, p.Reread = zap.NewNop(), time.Second/60, 10*time.Millisecond
	l, err := net.Listen("tcp", s.ingest)
	s.Must(err)
	pl, err := run.Open(s.Context(), p, connectors.Drivers)
	s.Must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- pl.Run(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			s.Errorf("the pipeline ended with %v", err)
		}
		pl.Close()
	})
	s.Cleanup(stop)
	return stop
}

// Press exports a vendor and waits for success.
func (s *Site) Press() {
	s.Helper()
	request, err := s.Sandbox.Press(ID, "create_vendor", nil)
	s.Must(err)
	s.Wait(request)
}

// Wait waits until a request succeeds, for at most a minute.
func (s *Site) Wait(request int64) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	if r, err := s.Sandbox.Wait(ctx, request); err != nil || r.Outcome() != sandbox.Success {
		s.Fatalf("request %d: %v, %+v", request, err, r.Details)
	}
}

// Eventually waits until is returns true, for at most 30 seconds.
func (s *Site) Eventually(is func() bool) {
	s.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatal("the condition was not met within 30 seconds")
		}
	}
}

// HookToken returns the token that the company's first hook sends.
func (s *Site) HookToken() string {
	s.Helper()
	hook, err := s.Hooks()[0]["id"].(json.Number).Int64()
	s.Must(err)
	return s.Sandbox.HookToken(hook)
}
