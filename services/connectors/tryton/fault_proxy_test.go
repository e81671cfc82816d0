package tryton_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// edge is a proxy between the driver and Tryton that applies a fault to the next write.
type edge struct {
	*httptest.Server
	tryton string

	mu    sync.Mutex
	fault string
}

func newEdge(t *testing.T, tryton string) *edge {
	e := &edge{tryton: tryton}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	armed = e
	return e
}

// armed is the proxy of the running test.
var armed *edge

// rehearse sets the fault of the proxy. F is the suite's type of faults.
func rehearse[F ~string](ctx context.Context, f F) (context.Context, error) {
	armed.mu.Lock()
	defer armed.mu.Unlock()
	armed.fault = string(f)
	return ctx, nil
}

// due returns the fault of a request that books or removes, and clears it.
func (e *edge) due(body string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !strings.Contains(body, "tieback.key.book") && !strings.Contains(body, "tieback.remove.remove") {
		return ""
	}
	f := e.fault
	e.fault = ""
	return f
}

func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fault := e.due(string(body))
	if fault == "throttled" {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	req, _ := http.NewRequestWithContext(r.Context(), r.Method, e.tryton+r.URL.Path, strings.NewReader(string(body)))
	req.Header = r.Header.Clone()
	req.Close = true
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil || fault == "lost-answer" {
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		panic(http.ErrAbortHandler)
	}
	defer res.Body.Close()
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body)
}
