package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// receiver is the server of a hook, without a network, so that the tests can run in synctest bubbles.
type receiver func(*http.Request) (int, error)

func (f receiver) RoundTrip(r *http.Request) (*http.Response, error) {
	status, err := f(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewBufferString("seen"))}, nil
}

// runSandbox runs a sandbox with one company whose hook calls f.
func runSandbox(t *testing.T, cfg Config, f receiver) *Sandbox {
	t.Helper()
	sb := New(cfg)
	sb.hooks.client = &http.Client{Transport: f}
	if err := sb.AddCompany(Company{ID: 7, ClientID: "c", ClientSecret: "s", WebhookURL: "http://receiver", WebhookToken: "hush"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- sb.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return sb
}

func press(t *testing.T, sb *Sandbox, n int) {
	t.Helper()
	for range n {
		if _, err := sb.Press(7, "sync_vendors", nil); err != nil {
			t.Fatal(err)
		}
	}
}

func logOf(sb *Sandbox, status string) []entry {
	sb.hooks.mu.Lock()
	defer sb.hooks.mu.Unlock()
	for _, h := range sb.hooks.all {
		return h.log(status, "", 1000)
	}
	return nil
}

// Retries are 1 s, 2 s, 4 s … 1 h apart. After 12 h the queue is flushed and active again.
func TestBackoffThenDiscard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var down atomic.Bool
		var mu sync.Mutex
		var at []time.Duration
		down.Store(true)
		sb := runSandbox(t, Config{}, func(*http.Request) (int, error) {
			mu.Lock()
			at = append(at, time.Since(began))
			mu.Unlock()
			if down.Load() {
				return 500, nil
			}
			return 204, nil
		})
		press(t, sb, 1)
		synctest.Wait()
		press(t, sb, 1) // waits for the first
		time.Sleep(11*time.Hour + 59*time.Minute)
		if got := logOf(sb, "failing"); len(got) != 1 || got[0].ResponseStatus != 500 || got[0].Outcome != "retried" {
			t.Errorf("failing: %+v", got)
		}
		want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 2047, 4095, 7695, 11295}
		mu.Lock()
		seen := slices.Clone(at)
		mu.Unlock()
		for i, w := range want {
			if seen[i] != w*time.Second {
				t.Errorf("attempt %d after %v; want %v", i+1, seen[i], w*time.Second)
			}
		}
		time.Sleep(2 * time.Hour)
		if got := logOf(sb, "discarded"); len(got) != 2 {
			t.Errorf("%d discarded; want both", len(got))
		}
		down.Store(false)
		press(t, sb, 1)
		synctest.Wait()
		if got := logOf(sb, "successful"); len(got) != 1 {
			t.Errorf("after the flush: %+v", got)
		}
	})
}

// A success ends the pause, and the next failure starts at 1 s again.
func TestSuccessResetsTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, fails atomic.Int64
		fails.Store(3)
		sb := runSandbox(t, Config{Speed: 10}, func(*http.Request) (int, error) {
			calls.Add(1)
			if fails.Add(-1) >= 0 {
				return 0, errors.New("connection refused")
			}
			return 200, nil
		})
		press(t, sb, 1)
		synctest.Wait()
		press(t, sb, 40)
		time.Sleep(701 * time.Millisecond) // (1 + 2 + 4) s, ten times as fast
		synctest.Wait()
		if got := logOf(sb, "successful"); len(got) != 41 {
			t.Errorf("%d of 41 delivered", len(got))
		}
		fails.Store(1)
		before := calls.Load()
		press(t, sb, 1)
		time.Sleep(101 * time.Millisecond)
		synctest.Wait()
		if got := calls.Load() - before; got != 2 {
			t.Errorf("%d attempts; want a failure and, 1 s later, a success", got)
		}
	})
}

func TestDeliveryTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sb := runSandbox(t, Config{}, func(r *http.Request) (int, error) {
			<-r.Context().Done()
			return 0, r.Context().Err()
		})
		press(t, sb, 1)
		time.Sleep(4999 * time.Millisecond)
		if got := logOf(sb, "any"); len(got) != 0 {
			t.Errorf("gave up before the timeout: %+v", got)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if got := logOf(sb, "failing"); len(got) != 1 || got[0].ResponseError == "" {
			t.Errorf("%+v", got)
		}
	})
}

func TestDeliveriesInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		sb := runSandbox(t, Config{InFlight: 8}, func(*http.Request) (int, error) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			now.Add(-1)
			return 200, nil
		})
		press(t, sb, 40)
		time.Sleep(6 * time.Second)
		if got := len(logOf(sb, "successful")); got != 40 || most.Load() != 8 {
			t.Errorf("%d of 40 delivered, %d at a time; want 8", got, most.Load())
		}
	})
}

// Rotate sends the three formats in turn. A duplicate has the same body and header.
func TestFormatsAndDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var bodies []string
		sb := runSandbox(t, Config{APIVersion: Rotate, DuplicateFraction: 1, InFlight: 1}, func(r *http.Request) (int, error) {
			raw, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			bodies = append(bodies, string(raw))
			if r.Header.Get("Authorization") != "Bearer hush" {
				return 401, nil
			}
			return 200, nil
		})
		for range 3 {
			press(t, sb, 1)
			synctest.Wait()
		}
		if len(bodies) != 6 || bodies[0] != bodies[1] || bodies[2] != bodies[3] || bodies[4] != bodies[5] {
			t.Fatalf("%d deliveries: %v", len(bodies), bodies)
		}
		for i, has := range map[int]string{0: `"event_type":"create"`, 2: `"related_resources":[{"id":7,`, 4: `"reason":"create"`} {
			if !strings.Contains(bodies[i], has) {
				t.Errorf("delivery %d lacks %s: %s", i, has, bodies[i])
			}
		}
		var v4 map[string]any
		_ = json.Unmarshal([]byte(bodies[4]), &v4)
		for _, field := range []string{"id", "resource_id", "company_id", "user_id"} {
			if _, isString := v4[field].(string); !isString {
				t.Errorf("v4.0: %s is %T, want a string", field, v4[field])
			}
		}
		if _, has := v4["metadata"]; has || v4["resource_type"] != "ERP Requests" {
			t.Errorf("v4.0: %v", v4)
		}
	})
}

// get calls the handler of the API.
func get(sb *Sandbox, token string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/rest/v1.0/companies/7/erp_request_details", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set(companyHeader, "7")
	sb.Handler().ServeHTTP(w, r)
	return w
}

// 25 calls in 10 seconds, 60 in an hour: the headers are those of the window with fewer calls left.
func TestRateWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sb := New(Config{HourlyLimit: 60})
		if err := sb.AddCompany(Company{ID: 7, ClientID: "c", ClientSecret: "s"}); err != nil {
			t.Fatal(err)
		}
		co, _ := sb.company(7)
		began := time.Now().Unix()
		token, _ := sb.tokens.issue(co.client)
		burst := func(n int) (last *httptest.ResponseRecorder) {
			for range n {
				last = get(sb, token)
			}
			return last
		}
		expect := func(why string, w *httptest.ResponseRecorder, status int, limit, remaining string, reset int64) {
			t.Helper()
			h := w.Header()
			if w.Code != status || h.Get("X-Rate-Limit-Limit") != limit || h.Get("X-Rate-Limit-Remaining") != remaining || unixOf(h) != reset {
				t.Errorf("%s: %d %v; want %d, %s of %s, reset %d", why, w.Code, h, status, remaining, limit, reset)
			}
		}
		expect("the first", burst(1), 200, "25", "24", began+10)
		expect("the last of the spike", burst(24), 200, "25", "0", began+10)
		expect("over the spike", burst(1), 429, "25", "0", began+10)
		time.Sleep(10 * time.Second)
		expect("a new spike window", burst(25), 200, "25", "0", began+20)
		time.Sleep(10 * time.Second)
		expect("the hour has fewer calls left", burst(1), 200, "60", "9", began+3600)
		expect("the last of the hour", burst(9), 200, "60", "0", began+3600)
		expect("over the hour", burst(1), 429, "60", "0", began+3600)
		time.Sleep(time.Hour - 20*time.Second)
		if w := burst(1); w.Code != 200 {
			t.Errorf("a new hour: %d", w.Code)
		}
		time.Sleep(tokenLifetime - time.Hour + time.Second)
		if w := burst(1); w.Code != 401 || !strings.Contains(w.Body.String(), "The access token is invalid") {
			t.Errorf("an expired token: %d %s", w.Code, w.Body)
		}
	})
}

func unixOf(h http.Header) int64 {
	n, _ := json.Number(h.Get("X-Rate-Limit-Reset")).Int64()
	return n
}

// Speed shortens the windows and keeps the limits.
func TestRateWindowsWithSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sb := New(Config{Speed: 100})
		if err := sb.AddCompany(Company{ID: 7, ClientID: "c", ClientSecret: "s"}); err != nil {
			t.Fatal(err)
		}
		co, _ := sb.company(7)
		token, _ := sb.tokens.issue(co.client)
		for range 25 {
			get(sb, token)
		}
		if w := get(sb, token); w.Code != 429 {
			t.Errorf("the 26th: %d", w.Code)
		}
		time.Sleep(100 * time.Millisecond)
		if w := get(sb, token); w.Code != 200 {
			t.Errorf("after a window: %d", w.Code)
		}
	})
}
