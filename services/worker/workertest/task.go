package workertest

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/schema/schematest"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/payload"
)

// Company and Request are those of every task.
const (
	Company = 7
	Request = 900
)

var update = flag.Bool("update", false, "write the golden files anew")

// Samples are the published payloads without spaces, by event type; the tests run in a folder of services/worker.
func Samples(t testing.TB) map[string]json.RawMessage {
	t.Helper()
	raw, err := os.ReadFile("../../../pkg/catalogue/testdata/events.json")
	if err != nil {
		t.Fatal(err)
	}
	var events []struct {
		Name   string          `json:"name"`
		Sample json.RawMessage `json:"sample"`
	}
	if err := json.Unmarshal(raw, &events); err != nil {
		t.Fatal(err)
	}
	samples := map[string]json.RawMessage{}
	for _, e := range events {
		var b bytes.Buffer
		if err := json.Compact(&b, e.Sample); err != nil {
			t.Fatal(err)
		}
		samples[e.Name] = b.Bytes()
	}
	return samples
}

// Procore answers every call with 200 and {} except those it has another status for.
type Procore struct {
	mu     sync.Mutex
	Status map[string]int // by "DELETE /rest/v1.0/cost_codes/3"
	Calls  []string       // in order, without the token's
}

// ServeHTTP answers a call.
func (p *Procore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/oauth/token" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"t","token_type":"bearer","expires_in":5400}`))
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Calls = append(p.Calls, r.Method+" "+r.URL.RequestURI())
	if status := p.Status[r.Method+" "+r.URL.Path]; status != 0 {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"message":"no"}`))
		return
	}
	_, _ = w.Write([]byte(`{}`))
}

// Task makes a task of a payload. Its Procore and ERP may be used for several tasks.
func Task(t testing.TB, eventType string, raw []byte, e *ERP, p *Procore) *worker.Task {
	t.Helper()
	server := httptest.NewServer(schematest.Handler(t, p))
	t.Cleanup(server.Close)
	co := company.New(Company, company.Secrets{ClientID: "id", ClientSecret: "secret"})
	client, err := procore.New(procore.Config{APIURL: server.URL, LoginURL: server.URL}, company.Set{Company: co}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	session, err := client.Company(Company)
	if err != nil {
		t.Fatal(err)
	}
	row, ok := catalogue.Lookup(eventType)
	if !ok {
		t.Fatalf("no event type %q", eventType)
	}
	request, err := payload.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	request.Zone = co.Zone
	return &worker.Task{
		Event: &tiebackv1.Event{CompanyId: Company, ErpRequestId: Request, Type: row.Name, Payload: raw},
		Row:   row, Payload: request, Company: co, ERP: connector.New(e, connector.Config{Company: Company, Generations: e}), Procore: session, State: e,
	}
}

// Golden compares what a task did with testdata/<name>.json; go test -update writes it anew.
func Golden(t *testing.T, name string, e *ERP, p *Procore, closeOuts []*tiebackv1.CloseOut) {
	t.Helper()
	got := Report(t, e, p, closeOuts)
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what was done:\n%s", file, got)
	}
}

// Report is what a task did, as JSON that is the same each time.
func Report(t testing.TB, e *ERP, p *Procore, closeOuts []*tiebackv1.CloseOut) []byte {
	t.Helper()
	doc := struct {
		Booked    []json.RawMessage `json:"booked,omitempty"`
		Removed   []string          `json:"removed,omitempty"`
		Ended     []string          `json:"lives_ended,omitempty"`
		Calls     []string          `json:"procore_calls,omitempty"`
		CloseOuts []json.RawMessage `json:"close_outs"`
	}{encode(t, e.Puts), e.Removed, e.Ended, p.Calls, encode(t, closeOuts)}
	raw, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(raw, '\n')
}

func encode[M proto.Message](t testing.TB, list []M) []json.RawMessage {
	var out []json.RawMessage
	for _, m := range list {
		raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, raw) // MarshalIndent evens out protojson's random spaces
	}
	return out
}

// Edit is a sample with replacements made in its text, old and new in turn.
func Edit(t testing.TB, sample []byte, oldnew ...string) []byte {
	t.Helper()
	s := string(sample)
	for pair := range slices.Chunk(oldnew, 2) {
		if !strings.Contains(s, pair[0]) {
			t.Fatalf("the sample has no %s", pair[0])
		}
		s = strings.ReplaceAll(s, pair[0], pair[1])
	}
	return []byte(s)
}
