package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/sandbox"
)

// buffer is a log that may be written and read concurrently.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// tokenRecorder records every access token that Procore issues.
type tokenRecorder struct {
	mu     sync.Mutex
	tokens []string
}

func (p *tokenRecorder) around(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/oauth/token" {
			h.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		var answer struct {
			Token string `json:"access_token"`
		}
		if json.Unmarshal(rec.Body.Bytes(), &answer) == nil && answer.Token != "" {
			p.mu.Lock()
			p.tokens = append(p.tokens, answer.Token)
			p.mu.Unlock()
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	})
}

// No secret is in a log, a metric, a message or the data folder, whatever fails.
func TestSecretsAreNotDisclosed(t *testing.T) {
	t.Parallel()
	log, tokenRecorder := &buffer{}, &tokenRecorder{}
	const rotated, guessed = "rotated-webhook-token-xyz", "guessed-webhook-token-xyz"
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(log), zap.DebugLevel)
	w := newWorld(t, setup{log: core, around: tokenRecorder.around, tokens: []string{rotated}})
	for _, rule := range []sandbox.FaultRule{
		{Path: "/oauth/token", Kind: sandbox.FaultStatus, Status: 500}, // of the login
		{Path: "/oauth/token", Kind: sandbox.FaultStatus, Status: 401},
		{Path: "/oauth/token", Kind: sandbox.FaultReset, Times: 2},
		{Path: "/erp_requests/", Kind: sandbox.FaultExpire, Times: 2},
		{Path: "/erp_requests/", Kind: sandbox.FaultStatus, Status: 401, Times: 3},
		{Path: "/external_data/sync", Kind: sandbox.FaultLoseAnswer, Times: 2},
		{Path: "/external_data/sync", Kind: sandbox.FaultStatus, Status: 422, Times: 2},
		{Path: "/external_data/sync", Kind: sandbox.FaultExpire},
		{Path: "/erp_request_details/sync", Kind: sandbox.FaultStatus, Status: 500},
	} {
		w.must(w.sandbox.Fail(rule))
	}
	l := w.run()
	var requests []int64
	for _, eventType := range []string{"create_vendor", "sync_vendors", "create_or_update_job", "unlink_commitment", "reset_job", "link_vendor", "sync_metadata"} {
		requests = append(requests, w.press(eventType))
	}
	requests = append(requests, w.pressIn(firstCompany, "create_spaceship", map[string]any{"request_data": map[string]any{"request_detail_id": 0}}))
	w.deliver(firstCompany, guessed, shapes["v2.0"](firstCompany, 1))
	w.deliver(firstCompany, rotated, "not a delivery")
	w.deliver(firstCompany, rotated, shapes["v4.0"](firstCompany, 2)) // an unknown request
	for _, id := range requests {
		w.wait(id)
	}
	l.await(bus.Dead, 2)
	var metrics strings.Builder
	families, err := l.Registry.Gather()
	w.must(err)
	for _, f := range families {
		fmt.Fprintln(&metrics, f)
	}
	var messages strings.Builder
	for _, name := range []string{"KV_tieback-state", bus.Delivery.Stream(), bus.Event.Stream(), bus.Outcome.Stream(), bus.Closed.Stream(), bus.Dead.Stream()} {
		for _, m := range l.stream(name) {
			fmt.Fprintf(&messages, "%s %v %s\n", m.Subject, m.Header, m.Data)
		}
	}
	l.stop()
	places := map[string]string{"log": log.String(), "metrics": metrics.String(), "messages": messages.String(), "data folder": w.files()}
	for place, text := range places {
		if !strings.Contains(text, fmt.Sprint(int64(firstCompany))) { // otherwise the search proves nothing
			t.Errorf("the %s lacks the company's id", place)
		}
		for secret, value := range w.secrets(tokenRecorder, rotated, guessed) {
			if i := strings.Index(text, value); i >= 0 {
				t.Errorf("the %s has %s: …%q", place, secret, text[max(0, i-100):min(len(text), i+100)])
			}
		}
	}
	if len(tokenRecorder.tokens) < 3 || !strings.Contains(log.String(), `"verdict":"dead"`) || !strings.Contains(log.String(), `"verdict":"again"`) {
		t.Errorf("%d access tokens were issued, and the log has %d bytes: too few faults", len(tokenRecorder.tokens), len(log.String()))
	}
}

func (w *world) secrets(p *tokenRecorder, rotated, guessed string) map[string]string {
	all := map[string]string{"the client secret": w.secret, "the webhook token": w.token, "the second webhook token": rotated, "a guessed token": guessed}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, token := range p.tokens {
		all[fmt.Sprint("access token ", i+1)] = token
	}
	return all
}

// files returns the contents of the data folder.
func (w *world) files() string {
	w.Helper()
	var all strings.Builder
	w.must(filepath.WalkDir(w.data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		all.Write(raw)
		return err
	}))
	return all.String()
}
