package endtoend

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/telemetry"
)

// gathered is a trace collector.
type gathered struct {
	mu    sync.Mutex
	spans []*tracev1.Span
	raw   bytes.Buffer
}

func (g *gathered) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	raw, err := io.ReadAll(body)
	q := &collector.ExportTraceServiceRequest{}
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(raw, q) != nil {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.raw.Write(raw)
	for _, of := range q.ResourceSpans {
		for _, scope := range of.ScopeSpans {
			g.spans = append(g.spans, scope.Spans...)
		}
	}
}

// named returns the spans with a name in a trace; nil: in any trace.
func (g *gathered) named(name string, trace []byte) (found []*tracev1.Span) {
	for _, s := range g.spans {
		if s.Name == name && (trace == nil || bytes.Equal(s.TraceId, trace)) {
			found = append(found, s)
		}
	}
	return found
}

// verdict returns the verdict of an attempt.
func verdict(s *tracev1.Span) string {
	for _, a := range s.Attributes {
		if a.Key == "tieback.verdict" {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// From the delivery to the close-out, an event is one trace across four services and the broker. The test is not parallel,
// because a process has one trace exporter.
func TestEventIsOneTraceAcrossStages(t *testing.T) {
	g := &gathered{}
	srv := httptest.NewServer(g)
	defer srv.Close()
	stop, err := telemetry.StartTraces(t.Context(), "tieback", srv.URL, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	tokens := &tokenRecorder{}
	w := newWorld(t, setup{around: tokens.around})
	l := w.run()
	w.wait(w.press("create_vendor"))
	l.quiet(bus.Outcome, "status-reporter") // wait for its ack
	l.stop()
	stop() // exports the remaining spans

	g.mu.Lock()
	defer g.mu.Unlock()
	ingest := g.named("ingest", nil)
	if len(ingest) != 1 {
		t.Fatalf("%d traces of one delivery", len(ingest))
	}
	parent := ingest[0]
	for _, stop := range []string{"fetcher", "export", "status-reporter"} {
		// Each attempt is a span. An attempt may be throttled while the limits are unknown.
		var done *tracev1.Span
		for _, s := range g.named(stop, parent.TraceId) {
			if !bytes.Equal(s.ParentSpanId, parent.SpanId) {
				t.Fatalf("the parent of %s is not %s", stop, parent.Name)
			}
			if verdict(s) == "done" {
				if done != nil {
					t.Fatalf("%s was done twice", stop)
				}
				done = s
			}
		}
		if done == nil {
			t.Fatalf("no span of %s that was done in the trace of %s", stop, parent.Name)
		}
		parent = done
	}
	for _, call := range []string{"procore erp_request", "erp put"} {
		if len(g.named(call, parent.TraceId)) == 0 {
			t.Errorf("no span %q in the trace", call)
		}
	}
	linked := false
	for _, f := range g.named("flush", nil) {
		for _, link := range f.Links {
			linked = linked || bytes.Equal(link.SpanId, parent.SpanId)
		}
	}
	if !linked {
		t.Error("no flush has a link to the event")
	}
	if len(tokens.tokens) == 0 {
		t.Fatal("no token was issued, so the search would prove nothing")
	}
	for _, secret := range append(tokens.tokens, w.secret, w.token) {
		if strings.Contains(g.raw.String(), secret) {
			t.Errorf("a secret is in the traces")
		}
	}
}
