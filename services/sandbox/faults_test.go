package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/services/sandbox"
)

const detailsPath = "/rest/v1.0/companies/7/erp_request_details"

func TestFaults(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{Seed: 3})
	u := serve(t, sb)
	fail := func(rule sandbox.FaultRule) {
		t.Helper()
		if err := sb.Fail(rule); err != nil {
			t.Fatal(err)
		}
	}
	for _, status := range []int{429, 500, 502, 503} {
		fail(sandbox.FaultRule{Kind: sandbox.FaultStatus, Status: status, Method: "GET", Path: "erp_request_details", RetryAfter: 2, Times: 2})
		for range 2 {
			if got, _, h := u.do("GET", detailsPath, ""); got != status || h.Get("Retry-After") != "2" {
				t.Errorf("%d, Retry-After %q; want %d, 2", got, h.Get("Retry-After"), status)
			}
		}
		if got, _, _ := u.do("GET", detailsPath, ""); got != 200 {
			t.Errorf("after %d twice: %d", status, got)
		}
	}
	fail(sandbox.FaultRule{Kind: sandbox.FaultExpire})
	if got, _, _ := u.do("GET", detailsPath, ""); got != 401 {
		t.Errorf("expired tokens: %d", got)
	}
	u.token = tokenOf(t, u.srv, mine)
	fail(sandbox.FaultRule{Kind: sandbox.FaultReset})
	if got, why, _ := u.do("PATCH", detailsPath+"/1", "{}"); got != 0 { // net/http retries a GET
		t.Errorf("a reset: %d %s", got, why)
	}
	fail(sandbox.FaultRule{Kind: sandbox.FaultStatus, Status: 500, Fraction: 0.5})
	counts := map[int]int{}
	for range 100 {
		got, _, _ := u.do("GET", detailsPath, "")
		counts[got]++
	}
	if counts[500] < 30 || counts[500] > 70 || counts[200]+counts[500] != 100 {
		t.Errorf("half of 100: %v", counts)
	}
	sb.Heal()
	if got, _, _ := u.do("GET", detailsPath, ""); got != 200 {
		t.Errorf("after Heal: %d", got)
	}
	for _, bad := range []sandbox.FaultRule{{Kind: "burn"}, {Kind: sandbox.FaultStatus}} {
		if sb.Fail(bad) == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
}

// A call whose answer is lost is processed. This is why a write can be ambiguous.
func TestLostAnswer(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	vendor := create(t, sb, "vendor")
	if err := sb.Fail(sandbox.FaultRule{Kind: sandbox.FaultLoseAnswer, Path: "external_data"}); err != nil {
		t.Fatal(err)
	}
	got, _, _ := u.do("PATCH", "/rest/v1.0/companies/7/external_data/sync", fmt.Sprintf(`{"updates":[{"item_type":"vendor","item_id":%d,"origin_id":"V"}]}`, vendor))
	if r, _ := sb.Record(mine, "vendor", vendor); got != 0 || r.OriginID != "V" {
		t.Errorf("answer %d, record %+v", got, r)
	}
	calls := sb.Writes()
	if n := len(calls); n != 1 || calls[0].Status != 0 || calls[0].Pattern != "PATCH /rest/v1.0/companies/{company_id}/external_data/sync" {
		t.Errorf("%+v", calls)
	}
}

func TestHang(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	if err := sb.Fail(sandbox.FaultRule{Kind: sandbox.FaultHang}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", u.srv.URL+detailsPath, nil)
	if _, err := u.srv.Client().Do(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestCallLog(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{CallLog: 3})
	u := serve(t, sb)
	for i := range 5 {
		u.do("GET", fmt.Sprintf("%s/%d", detailsPath, i), "")
	}
	calls := sb.Calls()
	if len(calls) != 3 || !strings.HasSuffix(calls[0].Path, "/2") || !strings.HasSuffix(calls[2].Path, "/4") {
		t.Errorf("%+v", calls)
	}
	if n := sb.Counts()["GET /rest/v1.0/companies/{company_id}/erp_request_details/{id}"]; n != 5 || sb.TotalCalls() != 6 {
		t.Errorf("%d counted, %d in all", n, sb.TotalCalls())
	}
}

// Main runs with a companies file and serves the control API.
func TestMainServes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "companies.yaml")
	if err := os.WriteFile(path, []byte("companies:\n- {id: 7, client_id: client7, client_secret: hush}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	env := map[string]string{"SANDBOX_ADDR": addr, "SANDBOX_COMPANIES": path, "SANDBOX_SPIKE_LIMIT": "-1"}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sandbox.Main(ctx, func(k string) string { return env[k] }) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	}()
	var resp *http.Response
	for range 100 {
		if resp, err = http.Post("http://"+addr+"/sandbox/companies/7/press/create_vendor", "application/json", strings.NewReader(`{"request_data":{"vendor":{"name":"Mine"}}}`)); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("press: %d", resp.StatusCode)
	}
}

func TestMainRefusesSettings(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"SANDBOX_COMPANIES":   {},
		"SANDBOX_SPEED":       {"SANDBOX_SPEED": "fast"},
		"SANDBOX_SPIKE_LIMIT": {"SANDBOX_SPIKE_LIMIT": "many"},
		"SANDBOX_LIMITS_PER":  {"SANDBOX_LIMITS_PER": "user"},
	} {
		if err := sandbox.Main(t.Context(), func(k string) string { return env[k] }); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
