package procore_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/procoretest"
)

const secret = "very-secret-client-secret"

func session(t *testing.T, h http.HandlerFunc) *procore.Session {
	t.Helper()
	return open(t, h).Session
}

// opened is a session and its dependencies.
type opened struct {
	*procore.Session
	file      string
	companies company.Set
	registry  *prometheus.Registry
}

func open(t *testing.T, h http.HandlerFunc) *opened {
	t.Helper()
	return openFor(t, 0, h)
}

// openFor opens a session whose calls have a timeout; 0: the default.
func openFor(t *testing.T, timeout time.Duration, h http.HandlerFunc) *opened {
	t.Helper()
	srv := httptest.NewServer(procoretest.Check(t, h))
	t.Cleanup(srv.Close)
	o := &opened{file: filepath.Join(t.TempDir(), "companies.yaml"), registry: prometheus.NewRegistry()}
	o.write(t, secret)
	var err error
	if o.companies, _, err = company.Load(o.file); err != nil {
		t.Fatal(err)
	}
	c, err := procore.New(procore.Config{APIURL: srv.URL, LoginURL: srv.URL, Timeout: timeout}, o.companies, o.registry)
	if err != nil {
		t.Fatal(err)
	}
	if o.Session, err = c.Company(7); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *opened) write(t *testing.T, secret string) {
	t.Helper()
	text := "companies: [{id: 7, client_id: c, client_secret: " + secret + ", webhook_tokens: [0123456789abcdef], connector: {driver: x}}]"
	if err := os.WriteFile(o.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rotate changes the company's secret at run time.
func (o *opened) rotate(t *testing.T, secret string) {
	t.Helper()
	w := company.NewWatcher(o.file, o.companies, zap.NewNop())
	o.write(t, secret)
	w.Poll()
	w.Poll() // a change counts once it was read twice
}

func token(w http.ResponseWriter, r *http.Request, n *atomic.Int64) bool {
	if r.URL.Path != "/oauth/token" {
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":"t%d","token_type":"bearer","expires_in":5400}`, n.Add(1))
	return true
}

func get(t *testing.T, s *procore.Session) error {
	t.Helper()
	_, err := s.Do(t.Context(), procore.Call{Route: procore.GetERPRequest, ID: 9})
	return err
}

func TestCallHasTokenAndCompany(t *testing.T) {
	var tokens atomic.Int64
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		if token(w, r, &tokens) {
			return
		}
		if r.Header.Get("Procore-Company-Id") != "7" || r.Header.Get("Authorization") != "Bearer t1" || r.URL.Path != "/rest/v1.0/companies/7/erp_requests/9" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		fmt.Fprint(w, "{}")
	})
	for range 3 {
		if err := get(t, s); err != nil {
			t.Fatal(err)
		}
	}
	if tokens.Load() != 1 {
		t.Errorf("%d tokens fetched, want 1", tokens.Load())
	}
}

func TestRefusedTokenIsRenewedOnce(t *testing.T) {
	var tokens atomic.Int64
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		if token(w, r, &tokens) {
			return
		}
		if r.Header.Get("Authorization") != "Bearer t2" {
			http.Error(w, `{"error":"The access token is invalid"}`, http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "{}")
	})
	if err := get(t, s); err != nil || tokens.Load() != 2 {
		t.Errorf("err %v, %d tokens", err, tokens.Load())
	}
}

func TestErrorClasses(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		class  fault.Class
	}{
		{"server error", 500, fault.Transient},
		{"bad gateway", 502, fault.Transient},
		{"too many", 429, fault.Throttled},
		{"heavy load", 503, fault.Throttled},
		{"not found", 404, fault.Permanent},
		{"forbidden", 403, fault.Permanent},
		{"unprocessable", 422, fault.Permanent},
		{"token refused twice", 401, fault.Transient},
	} {
		t.Run(c.name, func(t *testing.T) {
			var n atomic.Int64
			s := session(t, func(w http.ResponseWriter, r *http.Request) {
				if !token(w, r, &n) {
					http.Error(w, `{"errors":{"name":["is too long"]}}`, c.status)
				}
			})
			err := get(t, s)
			if err == nil || fault.ClassOf(err) != c.class {
				t.Fatalf("%v is %v, want %v", err, fault.ClassOf(err), c.class)
			}
			if c.status == 422 && !strings.Contains(fault.UserMessage(err, ""), "name: is too long") {
				t.Errorf("user message %q", fault.UserMessage(err, ""))
			}
		})
	}
}

func TestNoCallWhileWindowIsUsedUp(t *testing.T) {
	var n, calls atomic.Int64
	reset := time.Now().Add(30 * time.Second).Unix()
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		if token(w, r, &n) {
			return
		}
		left := 2 - calls.Add(1)
		w.Header().Set("X-Rate-Limit-Limit", "2")
		w.Header().Set("X-Rate-Limit-Remaining", fmt.Sprint(left))
		w.Header().Set("X-Rate-Limit-Reset", fmt.Sprint(reset))
		fmt.Fprint(w, "{}")
	})
	for range 2 {
		if err := get(t, s); err != nil {
			t.Fatal(err)
		}
	}
	err := get(t, s)
	if fault.ClassOf(err) != fault.Throttled || fault.RetryAfter(err) < 25*time.Second || calls.Load() != 2 {
		t.Errorf("err %v after %v, %d calls", err, fault.RetryAfter(err), calls.Load())
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		http.Error(w, "no such client "+r.Form.Encode(), http.StatusUnauthorized)
	})
	err := get(t, s)
	if err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, err), secret) || !strings.Contains(err.Error(), "client_secret") {
		t.Errorf("error %v", err)
	}
}

func TestLostAnswerOfWriteIsAmbiguous(t *testing.T) {
	var n atomic.Int64
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		if !token(w, r, &n) {
			panic(http.ErrAbortHandler)
		}
	})
	_, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: []map[string]any{{"id": 1}}})
	if fault.ClassOf(err) != fault.Ambiguous {
		t.Errorf("%v is %v", err, fault.ClassOf(err))
	}
	if err := get(t, s); fault.ClassOf(err) != fault.Transient {
		t.Errorf("a lost GET is %v", fault.ClassOf(err))
	}
}

// ofCompany is the envelope of a company's sync action.
var ofCompany = map[string]any{"company_id": 7}

func TestSyncSplitsUpdatesAndReadsRefusals(t *testing.T) {
	var n, calls atomic.Int64
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		if token(w, r, &n) {
			return
		}
		calls.Add(1)
		fmt.Fprint(w, `{"entities":[{"id":9007199254740993}],"errors":[{"id":5,"errors":{"name":["is taken","is odd"]}}]}`)
	})
	updates := slices.Repeat([]map[string]any{{"name": "Acme"}}, 2500)
	res, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates})
	if err != nil || calls.Load() != 3 || len(res.Entities) != 3 || fmt.Sprint(res.Entities[0]["id"]) != "9007199254740993" || res.Refused[0].Why != "name: is taken, is odd" {
		t.Errorf("%v, %d calls, %v", err, calls.Load(), res)
	}
}

// A 200 without entities and errors, such as that of a proxy, is not a success.
func TestEmpty200IsNoSuccess(t *testing.T) {
	for _, body := range []string{`{}`, `null`, ``, `<html>`, `[]`} {
		var n atomic.Int64
		s := session(t, func(w http.ResponseWriter, r *http.Request) {
			if !token(w, r, &n) {
				fmt.Fprint(w, body)
			}
		})
		_, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: []map[string]any{{"id": 1}}})
		if fault.ClassOf(err) != fault.Ambiguous {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestRoutesFile(t *testing.T) {
	for text, says := range map[string]string{
		"erp_request: /x/{id}\n": "", "erp_request: x\n": "must start with /", "erp_request: /x/{ident}\n": "unknown", "- a\n": "TIEBACK_PROCORE_ROUTES",
	} {
		file := filepath.Join(t.TempDir(), "routes.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := procore.LoadRoutes(file)
		if (says == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
	if _, err := procore.LoadRoutes("/nowhere"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// Refused credentials do not cause a login for each call. Changed credentials are tried at once.
func TestRefusedLoginIsCached(t *testing.T) {
	var logins atomic.Int64
	var good atomic.Bool
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth/token" {
			logins.Add(1)
			_ = r.ParseForm()
			if r.PostForm.Get("client_secret") != "another" {
				http.Error(w, "revoked", http.StatusUnauthorized)
				return
			}
			good.Store(true)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"t","token_type":"bearer","expires_in":5400}`)
	}
	s := open(t, h)
	for range 20 {
		if err := get(t, s.Session); fault.ClassOf(err) != fault.Transient || fault.SourceOf(err) != fault.FromProcore {
			t.Fatalf("%v is %v", err, fault.ClassOf(err))
		}
	}
	if n := logins.Load(); n != 1 {
		t.Errorf("%d logins for 20 calls", n)
	}
	s.rotate(t, "another")
	if err := get(t, s.Session); err != nil || !good.Load() {
		t.Errorf("with a new secret: %v", err)
	}
}

// If the login redirects, the secret is not sent to the target.
func TestSecretIsNotSentToRedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was called", r.URL.Path)
	}))
	t.Cleanup(elsewhere.Close)
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
	})
	if err := get(t, s); fault.ClassOf(err) != fault.Transient || !strings.Contains(err.Error(), "307") {
		t.Errorf("error %v", err)
	}
}

func TestErrorsHaveSourceProcore(t *testing.T) {
	for _, status := range []int{429, 500, 422, 401} {
		var n atomic.Int64
		s := session(t, func(w http.ResponseWriter, r *http.Request) {
			if !token(w, r, &n) {
				w.WriteHeader(status)
			}
		})
		if err := get(t, s); fault.SourceOf(err) != fault.FromProcore {
			t.Errorf("%d: %v comes from %q", status, err, fault.SourceOf(err))
		}
	}
}

// The error for a malformed answer has the source Procore, wherever it is parsed.
func TestMalformedAnswersHaveSourceProcore(t *testing.T) {
	var n atomic.Int64
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		if !token(w, r, &n) {
			fmt.Fprint(w, `"nonsense"`)
		}
	})
	_, synced := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: []map[string]any{{"id": 1}}})
	_, paged := s.ReadPage(t.Context(), procore.Call{Route: procore.ListRequestDetails}, 1)
	for _, err := range []error{synced, paged} {
		if fault.SourceOf(err) != fault.FromProcore {
			t.Errorf("%v comes from %q", err, fault.SourceOf(err))
		}
	}
}

func TestQuotaGauge(t *testing.T) {
	var n atomic.Int64
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		if token(w, r, &n) {
			return
		}
		w.Header().Set("X-Rate-Limit-Limit", "3600")
		w.Header().Set("X-Rate-Limit-Remaining", "3210")
		w.Header().Set("X-Rate-Limit-Reset", fmt.Sprint(time.Now().Add(time.Hour/2).Unix()))
		fmt.Fprint(w, "{}")
	})
	if err := get(t, s.Session); err != nil {
		t.Fatal(err)
	}
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(families); !strings.Contains(text, `tieback_procore_quota_remaining`) || !strings.Contains(text, `value:"hour"`) || !strings.Contains(text, "3210") {
		t.Errorf("metrics %s", text)
	}
}

// Redirects are refused: a write would become a GET, whose 200 would be taken for that of the write.
func TestRedirectIsRefused(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var tokens, followed atomic.Int64
		s := session(t, func(w http.ResponseWriter, r *http.Request) {
			if token(w, r, &tokens) {
				return
			}
			if r.URL.Path == "/elsewhere" {
				followed.Add(1)
				fmt.Fprint(w, "{}")
				return
			}
			w.Header().Set("Location", "/elsewhere?token=abc")
			w.WriteHeader(status)
		})
		for _, c := range []procore.Call{
			{Route: procore.UpdateProject, ID: 3, Body: map[string]any{"company_id": 7, "project": map[string]any{"name": "Tower"}}}, {Route: procore.DeleteCostCode, ID: 3, Query: procore.Query("project_id", int64(3))}, {Route: procore.GetERPRequest, ID: 9},
		} {
			_, err := s.Do(t.Context(), c)
			if fault.ClassOf(err) != fault.Permanent || !strings.Contains(err.Error(), fmt.Sprint(status)) || !strings.Contains(err.Error(), "/elsewhere") {
				t.Errorf("%s, %d: %v; want an error with the target", c.Route.Name, status, err)
			}
			if err != nil && strings.Contains(err.Error(), "abc") {
				t.Errorf("%d: %v has the query, which may contain a secret", status, err)
			}
			if fault.CauseOf(err) != fault.Procore {
				t.Errorf("%d: cause %v", status, fault.CauseOf(err))
			}
		}
		if followed.Load() > 0 {
			t.Errorf("%d: %d were followed", status, followed.Load())
		}
	}
}
