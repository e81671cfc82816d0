// Package procoretest serves a fake Procore for tests that decide its answers. Tests that need a Procore with state use
// services/sandbox.
package procoretest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/schema"
)

// Company is the id of the company of Session.
const Company = 7

// Session returns a session of a company whose Procore is Serve of next.
func Session(t testing.TB, next http.Handler) *procore.Session {
	t.Helper()
	url := Serve(t, next)
	set := company.Set{Company: company.New(Company, company.Secrets{ClientID: "c", ClientSecret: "s"})}
	client, err := procore.New(procore.Config{APIURL: url, LoginURL: url}, set, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	session, err := client.Company(Company)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// Serve serves the API and the login until the test ends and returns their URL. The login accepts any credentials. next
// answers all other requests, in JSON; see Check.
func Serve(t testing.TB, next http.Handler) (url string) {
	t.Helper()
	next = Check(t, next)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/oauth/token" {
			fmt.Fprint(w, `{"access_token":"t","token_type":"bearer","expires_in":5400}`)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		srv.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return srv.URL
}

// Check returns a handler that fails the test for each API request that differs from its published operation, as
// schema.Check finds, and then calls next. It does not check requests to other paths. It may be called concurrently.
func Check(t testing.TB, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if strings.HasPrefix(r.URL.Path, "/rest/") {
			for _, v := range schema.Check(r.Method, r.URL.Path, r.URL.Query(), body) {
				t.Errorf("%s %s: %v", r.Method, r.URL, v)
			}
		}
		next.ServeHTTP(w, r)
	})
}
