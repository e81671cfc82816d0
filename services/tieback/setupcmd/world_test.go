package setupcmd

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
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run"
)

func TestMain(m *testing.M) { bustest.VerifyNoLeaks(m) }

// The company, with an id that does not fit a float or 32 bits.
const (
	id           = 598134325841112
	clientSecret = "client-secret-0123456789abcdef"
)

// world is a sandbox with a company that has nothing but a service account, and a folder for its companies file.
type world struct {
	*testing.T
	sandbox *sandbox.Sandbox
	api     string // the sandbox's address
	dir     string
	ingest  string // host:port where ingest will be
	told    bytes.Buffer
	secrets []string
}

func newWorld(t *testing.T, cfg sandbox.Config) *world {
	t.Helper()
	cfg.Speed, cfg.HourlyLimit, cfg.SpikeLimit = 60, -1, -1
	w := &world{T: t, sandbox: sandbox.New(cfg), dir: t.TempDir(), secrets: []string{clientSecret}}
	w.must(w.sandbox.AddCompany(sandbox.Company{ID: id, Name: "Acme", ClientID: "client", ClientSecret: clientSecret, StandardCostCodeListID: 2}))
	w.api = w.serve(w.sandbox.Handler())
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.sandbox.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		for _, v := range w.sandbox.Violations() {
			t.Errorf("not as Procore publishes: %s", v)
		}
	})
	w.ingest = freePort(t)
	w.write("acme.secret", clientSecret+"\n")
	for name, value := range map[string]string{
		"TIEBACK_COMPANIES": w.path("companies.yaml"), "TIEBACK_DATA": w.path("data"), "TIEBACK_NATS_URL": "",
		"TIEBACK_PROCORE_API_URL": w.api, "TIEBACK_PROCORE_LOGIN_URL": w.api, "TIEBACK_PROCORE_ROUTES": "",
		"TIEBACK_INGEST_ADDR": w.ingest, "TIEBACK_ADMIN_ADDR": "127.0.0.1:0",
	} {
		t.Setenv(name, value)
	}
	t.Cleanup(w.noSecretWasTold)
	return w
}

func (w *world) serve(h http.Handler) string {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(l) })
	w.Cleanup(func() { _ = srv.Close(); running.Wait(); http.DefaultClient.CloseIdleConnections() })
	return "http://" + l.Addr().String()
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) {
	w.Helper()
	w.must(os.WriteFile(w.path(name), []byte(text), 0o600))
}

func (w *world) text(name string) string {
	w.Helper()
	raw, err := os.ReadFile(w.path(name))
	w.must(err)
	return string(raw)
}

func (w *world) url() string { return "http://" + w.ingest }

// tieback runs `tieback setup` and gives its exit code and all that it printed.
func (w *world) tieback(args ...string) (code int, out string) {
	w.Helper()
	var b bytes.Buffer
	cmd := Command()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetOut(&b)
	cmd.SetErr(&b)
	cmd.SetIn(strings.NewReader(""))
	cmd.SetArgs(append([]string{"--company", fmt.Sprint(id)}, args...))
	err := cmd.ExecuteContext(w.Context())
	switch {
	case errors.Is(err, ErrFailed):
		code = 1
	case err != nil:
		code = 2
		fmt.Fprintf(&b, "tieback: %v\n", err)
	}
	w.told.Write(b.Bytes())
	return code, b.String()
}

// credentials are all that somebody has of a company before its first setup.
func (w *world) credentials() []string {
	return []string{"--url", w.url(), "--name", "Acme Builders", "--client-id", "client", "--client-secret-file", w.path("acme.secret"), "--connector", "driver=ledger"}
}

// does insists on an exit code and on words.
func (w *world) does(code int, says string, args ...string) string {
	w.Helper()
	got, out := w.tieback(args...)
	if got != code || !strings.Contains(out, says) {
		w.Fatalf("tieback setup %s: exit code %d, want %d and %q\n%s", strings.Join(args, " "), got, code, says, out)
	}
	return out
}

// connect sets the company up and checks that all is there.
func (w *world) connect() {
	w.Helper()
	w.does(0, "done: create trigger", append(w.credentials(), "--yes")...)
	w.sound()
}

// tokens are the webhook tokens of now, the newest last.
func (w *world) tokens() []string {
	w.Helper()
	tokens := strings.Fields(w.text(fmt.Sprintf("%d.webhook-tokens", int64(id))))
	w.secrets = append(w.secrets, tokens...)
	return tokens
}

// sound checks that Procore has what it should, once, and that another run would change nothing.
func (w *world) sound() {
	w.Helper()
	hooks := w.hooks()
	if len(hooks) != 1 {
		w.Fatalf("%d hooks: %v", len(hooks), hooks)
	}
	tokens := w.tokens()
	h := hooks[0]
	if h["destination_url"] != fmt.Sprintf("%s/webhooks/procore/%d", w.url(), int64(id)) || h["namespace"] != "tieback" || w.sends() != tokens[len(tokens)-1] {
		w.Errorf("the hook is %v", h)
	}
	if triggers := w.triggers(h["id"]); len(triggers) != 1 || triggers[0]["resource_name"] != "ERP Requests" || triggers[0]["event_type"] != "CREATE" {
		w.Errorf("the triggers are %v", triggers)
	}
	if !strings.Contains(w.text("companies.yaml"), "standard_cost_code_list_id: 2\n") || w.sandbox.Metadata(id) == nil {
		w.Errorf("no connection: %s", w.text("companies.yaml"))
	}
	before := len(w.sandbox.Writes())
	if len(tokens) == 1 {
		w.does(0, "Nothing to change.")
	}
	if n := len(w.sandbox.Writes()); n != before {
		w.Errorf("a run that changes nothing wrote %d times to Procore", n-before)
	}
}

// call is a call of Procore's API by somebody else who has the credentials.
func (w *world) call(method, path, body string) (int, string) {
	w.Helper()
	login, err := http.Post(w.api+"/oauth/token", "application/json",
		strings.NewReader(fmt.Sprintf(`{"grant_type":"client_credentials","client_id":"client","client_secret":%q}`, clientSecret)))
	w.must(err)
	var token struct {
		Value string `json:"access_token"`
	}
	w.must(json.NewDecoder(login.Body).Decode(&token))
	w.must(login.Body.Close())
	w.secrets = append(w.secrets, token.Value)
	req, err := http.NewRequestWithContext(w.Context(), method, w.api+path, strings.NewReader(body))
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+token.Value)
	req.Header.Set("Procore-Company-Id", fmt.Sprint(id))
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	raw, err := io.ReadAll(resp.Body)
	w.must(errors.Join(err, resp.Body.Close()))
	return resp.StatusCode, string(raw)
}

func (w *world) list(path string) (items []map[string]any) {
	w.Helper()
	status, raw := w.call("GET", path, "")
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&items); err != nil || status != http.StatusOK {
		w.Fatalf("%s: %d %s", path, status, raw)
	}
	return items
}

func (w *world) hooks() []map[string]any {
	return w.list(fmt.Sprintf("/rest/v1.0/webhooks/hooks?company_id=%d", id))
}

func (w *world) triggers(hook any) []map[string]any {
	return w.list(fmt.Sprintf("/rest/v1.0/webhooks/hooks/%v/triggers?company_id=%d", hook, id))
}

// changes makes a call of somebody else that must succeed.
func (w *world) changes(method, path, body string) {
	w.Helper()
	if method == http.MethodDelete {
		path += fmt.Sprintf("?company_id=%d", id)
	}
	if status, raw := w.call(method, path, body); status >= 300 {
		w.Fatalf("%s %s: %d %s", method, path, status, raw)
	}
}

// noSecretWasTold looks through all that the command ever printed.
func (w *world) noSecretWasTold() {
	for _, secret := range w.secrets {
		if strings.Contains(w.told.String(), secret) {
			w.Errorf("a secret was printed: %s", secret)
		}
	}
}

// run runs the whole pipeline on the companies file until stop, or the test's end.
func (w *world) run() (stop func()) {
	w.Helper()
	p, err := tenant.Load("tieback")
	w.must(err)
	p.Log, p.Backoff, p.Reread = zap.NewNop(), time.Second/60, 10*time.Millisecond
	l, err := net.Listen("tcp", w.ingest)
	w.must(err)
	pl, err := run.Open(w.Context(), p)
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- pl.Run(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			w.Errorf("the pipeline ended with %v", err)
		}
		pl.Close()
	})
	w.Cleanup(stop)
	return stop
}

// press presses Export and waits for success.
func (w *world) press() {
	w.Helper()
	request, err := w.sandbox.Press(id, "create_vendor", nil)
	w.must(err)
	w.succeeds(request)
}

func (w *world) succeeds(request int64) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	if r, err := w.sandbox.Wait(ctx, request); err != nil || r.Outcome() != sandbox.Success {
		w.Fatalf("request %d: %v, %+v", request, err, r.Details)
	}
}
