// Package schematest checks the requests that tests make of a fake Procore.
package schematest

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/procore/schema"
)

// Handler fails the test for each API request that differs from its operation (see schema.Check),
// then has next answer it. Requests to other paths, such as for a token, are not checked.
// It may be called concurrently.
func Handler(t testing.TB, next http.Handler) http.Handler {
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
