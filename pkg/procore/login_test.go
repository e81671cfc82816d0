package procore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
)

// realm is a Procore that issues tokens for one secret, and a client with a companies file that calls it.
type realm struct {
	*testing.T
	*procore.Client
	file     string
	url      string
	watcher  *company.Watcher
	set      company.Set
	registry *prometheus.Registry
	log      *observer.ObservedLogs
	store    *memory

	mu     sync.Mutex
	takes  string   // the secret
	life   int      // of a token, in seconds
	logins []string // client ids and secrets of the logins
	tokens map[string]bool
	calls  []string // company and token of each call
}

// memory is a Store in memory.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
	at     map[string]uint64
}

func (m *memory) Read(_ context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[key], m.at[key], nil
}

func (m *memory) Swap(_ context.Context, key string, value []byte, revision uint64) (uint64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if revision != m.at[key] {
		return 0, false, nil
	}
	m.values[key], m.at[key] = value, revision+1
	return revision + 1, true, nil
}

func newRealm(t *testing.T, file string) *realm {
	t.Helper()
	r := &realm{
		T: t, file: filepath.Join(t.TempDir(), "companies.yaml"), registry: prometheus.NewRegistry(), takes: "first-secret", life: 5400,
		tokens: map[string]bool{}, store: &memory{values: map[string][]byte{}, at: map[string]uint64{}},
	}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	r.write(file)
	var err error
	if r.set, _, err = company.Load(r.file); err != nil {
		t.Fatal(err)
	}
	core, log := observer.New(zapcore.InfoLevel)
	r.log, r.watcher = log, company.NewWatcher(r.file, r.set, zap.New(core))
	r.Client, err = procore.New(procore.Config{APIURL: srv.URL, LoginURL: srv.URL, Timeout: time.Second}, r.set, r.registry)
	if err != nil {
		t.Fatal(err)
	}
	r.Publish(r.store)
	r.LogTo(zap.New(core))
	return r
}

func (r *realm) write(text string) {
	r.Helper()
	if err := os.WriteFile(r.file, []byte(strings.ReplaceAll(text, "URL", r.url)), 0o600); err != nil {
		r.Fatal(err)
	}
}

func (r *realm) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if q.URL.Path == "/oauth/token" {
		_ = q.ParseForm()
		r.logins = append(r.logins, q.PostForm.Get("client_id")+" "+q.PostForm.Get("client_secret"))
		if q.PostForm.Get("client_secret") != r.takes {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		token := fmt.Sprint("t", len(r.logins))
		r.tokens[token] = true
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":%d}`, token, r.life)
		return
	}
	token := strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer ")
	r.calls = append(r.calls, q.Header.Get("Procore-Company-Id")+" "+token)
	if !r.tokens[token] {
		w.WriteHeader(http.StatusUnauthorized)
	}
	fmt.Fprint(w, "{}")
}

// call makes a call of a company, and returns the token that was sent.
func (r *realm) call(id int64) (string, error) {
	r.Helper()
	s, err := r.Company(id)
	if err != nil {
		r.Fatal(err)
	}
	err = get(r.T, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || len(r.calls) == 0 {
		return "", err
	}
	_, token, _ := strings.Cut(r.calls[len(r.calls)-1], " ")
	return token, nil
}

// rotate writes another secret into the companies file, and reloads the file.
func (r *realm) rotate(from, to string) {
	r.Helper()
	raw, err := os.ReadFile(r.file)
	if err != nil {
		r.Fatal(err)
	}
	r.write(strings.ReplaceAll(string(raw), from, to))
	r.watcher.Poll()
	r.watcher.Poll()
	r.Renew(r.Context())
}

func (r *realm) refusal(id int64) (procore.Refusal, bool) {
	r.Helper()
	client := r.set[id].Client
	raw, _, _ := r.store.Read(r.Context(), procore.LoginKey(id, client.Name))
	refusal, refused, err := procore.ReadRefusal(raw, id, client)
	if err != nil {
		r.Fatal(err)
	}
	return refusal, refused
}

// gauges returns the companies that have a sample of a metric.
func (r *realm) gauges(name string) (ids []string) {
	r.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				ids = append(ids, m.GetLabel()[0].GetValue())
			}
		}
	}
	return ids
}

const twoOfOne = `clients: [{name: acme, client_id: app, client_secret: first-secret}]
companies:
  - {id: 7, client: acme, webhook_tokens: [0123456789abcdef], connector: {driver: x}}
  - {id: 8, client: acme, webhook_tokens: [0123456789abcdef], connector: {driver: x}}
`

func TestCompaniesOfAClientShareOneLogin(t *testing.T) {
	r := newRealm(t, twoOfOne)
	for _, id := range []int64{7, 8, 7} {
		if token, err := r.call(id); err != nil || token != "t1" {
			t.Errorf("company %d calls with %q, %v", id, token, err)
		}
	}
	if len(r.logins) != 1 || strings.Join(r.calls, ", ") != "7 t1, 8 t1, 7 t1" {
		t.Errorf("logins %v, calls %v", r.logins, r.calls)
	}
	if ids := r.gauges("tieback_procore_token_expires_timestamp_seconds"); strings.Join(ids, " ") != "7 8" {
		t.Errorf("the token's end is shown of %v", ids)
	}
}

func TestRotatedCredentialsLogInAtOnce(t *testing.T) {
	r := newRealm(t, twoOfOne)
	r.Renew(t.Context())
	if len(r.logins) != 0 {
		t.Errorf("logins before any call: %v", r.logins)
	}
	if _, err := r.call(7); err != nil {
		t.Fatal(err)
	}
	r.takes = "other-secret"
	r.rotate("first-secret", "other-secret")
	if n := len(r.logins); n != 2 || r.logins[1] != "app other-secret" {
		t.Fatalf("logins %v, want one with the new secret though nothing was called", r.logins)
	}
	if r.log.FilterMessageSnippet("secrets rotated").Len() != 1 {
		t.Errorf("the log has %v", r.log.All())
	}
	for range 3 {
		r.Renew(t.Context())
	}
	if token, err := r.call(8); err != nil || token != "t2" || len(r.logins) != 2 {
		t.Errorf("then a call is made with %q, %v; logins %v", token, err, r.logins)
	}
}

// While Procore refuses new credentials, the previous token is used, and the log, the metric and the store show this.
func TestPreviousTokenIsUsedWhileCredentialsAreRefused(t *testing.T) {
	r := newRealm(t, twoOfOne)
	if _, err := r.call(7); err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-time.Second)
	r.rotate("first-secret", "wrong-secret")
	for range 3 {
		if token, err := r.call(7); err != nil || token != "t1" {
			t.Errorf("a call is made with %q, %v", token, err)
		}
		r.Renew(t.Context())
	}
	if len(r.logins) != 2 {
		t.Errorf("logins %v: the wrong one is not tried again within a second", r.logins)
	}
	for end := time.Now().Add(10 * time.Second); len(r.logins) < 3 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		r.Renew(t.Context()) // after a second it is
	}
	errs := r.log.FilterLevelExact(zapcore.ErrorLevel).All()
	if len(errs) != 1 || !strings.Contains(errs[0].Message, "previous token") || !strings.Contains(fmt.Sprint(errs[0].ContextMap()), "client acme") {
		t.Errorf("want one error that names the client: %v", errs)
	}
	if r.log.FilterMessageSnippet("rotated").Len() != 0 {
		t.Errorf("the log says that the secrets are rotated: %v", r.log.All())
	}
	if ids := r.gauges("tieback_procore_credentials_refused_timestamp_seconds"); strings.Join(ids, " ") != "7 8" {
		t.Errorf("refused credentials are shown of %v", ids)
	}
	for _, id := range []int64{7, 8} {
		if is, refused := r.refusal(id); !refused || is.Status != 401 || is.Since.Before(began) || time.Until(is.Until) < time.Hour {
			t.Errorf("company %d: the store has %+v, %v", id, is, refused)
		}
	}
	r.rotate("wrong-secret", "first-secret")
	if _, refused := r.refusal(7); refused || len(r.gauges("tieback_procore_credentials_refused_timestamp_seconds")) != 0 {
		t.Error("the refusal is shown still")
	}
	if r.log.FilterMessageSnippet("secrets rotated").Len() != 1 {
		t.Errorf("the log has %v", r.log.All())
	}
}

// A refusal that was not sealed with the client's secret is ignored, and the next login replaces it. Otherwise a broker key would
// be enough to make status report refused credentials.
func TestForgedRefusalIsIgnored(t *testing.T) {
	r := newRealm(t, twoOfOne)
	client, since := r.set[7].Client, time.Now().Add(-time.Hour)
	plain, err := json.Marshal(procore.Refusal{Since: since, Status: 401})
	if err != nil {
		t.Fatal(err)
	}
	other := newRealm(t, strings.ReplaceAll(twoOfOne, "first-secret", "other-secret"))
	sealed, err := procore.Refusal{Since: since, Status: 401}.Seal(7, other.set[7].Client, 0)
	if err != nil {
		t.Fatal(err)
	}
	own, err := procore.Refusal{Since: since, Status: 401}.Seal(7, client, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"plain": plain, "of another secret": sealed, "junk": []byte("junk")} {
		if is, refused, err := procore.ReadRefusal(raw, 7, client); refused || err == nil {
			t.Errorf("%s: %+v, %v", name, is, err)
		}
	}
	if is, refused, err := procore.ReadRefusal(own, 7, client); !refused || err != nil || !is.Since.Equal(since) {
		t.Errorf("its own: %+v, %v", is, err)
	}
	key := procore.LoginKey(7, client.Name)
	if _, ok, _ := r.store.Swap(t.Context(), key, plain, 0); !ok {
		t.Fatal("not written")
	}
	if _, err := r.call(7); err != nil {
		t.Fatal(err)
	}
	if raw, _, _ := r.store.Read(t.Context(), key); len(raw) > 0 {
		t.Errorf("after a login the store has %s", raw)
	}
}

// A token in its last minute is still used if the login returns no other.
func TestTokenIsUsedUntilItExpiresWhileLoginIsRefused(t *testing.T) {
	r := newRealm(t, twoOfOne)
	r.life = 30
	if _, err := r.call(7); err != nil {
		t.Fatal(err)
	}
	r.takes = "none"
	if token, err := r.call(7); err != nil || token != "t1" {
		t.Errorf("a call is made with %q, %v", token, err)
	}
	r.tokens = nil // and no longer than Procore takes it
	if _, err := r.call(7); err == nil {
		t.Error("a call succeeded without a token that Procore takes")
	}
}

func TestClientHosts(t *testing.T) {
	federal := newRealm(t, twoOfOne)
	text := strings.NewReplacer("clients: [", "clients: [{name: gov, client_id: gov, client_secret: first-secret, api_url: "+federal.url+", login_url: "+federal.url+"}, ",
		"id: 8, client: acme", "id: 8, client: gov").Replace(twoOfOne)
	r := newRealm(t, text)
	for _, id := range []int64{7, 8} {
		if _, err := r.call(id); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(r.calls, " ") != "7 t1" || strings.Join(r.logins, " ") != "app first-secret" {
		t.Errorf("the environment's hosts got %v, %v", r.logins, r.calls)
	}
	if strings.Join(federal.calls, " ") != "8 t1" || strings.Join(federal.logins, " ") != "gov first-secret" {
		t.Errorf("the client's hosts got %v, %v", federal.logins, federal.calls)
	}
}

// The error for an unreachable host names its setting.
func TestUnreachableHostErrorNamesSetting(t *testing.T) {
	const nowhere = "http://127.0.0.1:1"
	for text, says := range map[string]string{
		strings.Replace(twoOfOne, "client_id: app", "client_id: app, api_url: "+nowhere+", login_url: URL", 1): "(api_url of client acme)",
		strings.Replace(twoOfOne, "client_id: app", "client_id: app, api_url: URL, login_url: "+nowhere, 1):    "(login_url of client acme)",
	} {
		r := newRealm(t, text)
		if _, err := r.call(7); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
