package workertest

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/catalogue/dictionary"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/golden"
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/procoretest"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// Company and RequestID are the company and the ERP request of every task.
const (
	Company   = procoretest.Company
	RequestID = 900
)

// Rig runs handlers for one company with its ERP and its Procore.
type Rig struct {
	ERP     *ERP
	Procore *Procore
	Company *company.Company

	t       testing.TB
	session *procore.Session
}

// New returns a rig with an empty ERP and a Procore.
func New(t testing.TB) *Rig {
	t.Helper()
	return newRig(t, &ERP{}, &Procore{})
}

func newRig(t testing.TB, e *ERP, p *Procore) *Rig {
	t.Helper()
	co := company.New(Company, company.Secrets{})
	return &Rig{ERP: e, Procore: p, Company: co, t: t, session: procoretest.Session(t, p)}
}

// Task returns a task for a payload. e and p may be used for several tasks.
func Task(t testing.TB, eventType string, raw []byte, e *ERP, p *Procore) *worker.Task {
	t.Helper()
	request, err := payload.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return newRig(t, e, p).task(eventType, raw, request)
}

func (r *Rig) task(eventType string, raw []byte, request payload.Request) *worker.Task {
	r.t.Helper()
	row, ok := catalogue.Lookup(eventType)
	if !ok {
		r.t.Fatalf("no event type %q", eventType)
	}
	request.Zone = r.Company.Zone
	return &worker.Task{
		Event: &tiebackv1.Event{CompanyId: Company, ErpRequestId: RequestID, Type: row.Name, Payload: raw},
		Row:   row, Payload: request, Company: r.Company, Procore: r.session, State: r.ERP,
		ERP: connector.New(r.ERP, connector.Config{Company: Company, Generations: r.ERP}),
	}
}

// Run passes an event to its handler. raw is the ERP request; "" stands for the published sample. Like the
// status-reporter, Run keeps the links of the close-outs.
func (r *Rig) Run(handlers worker.Handlers, eventType, raw string) ([]*tiebackv1.CloseOut, error) {
	r.t.Helper()
	if raw == "" {
		raw = string(Samples(r.t)[eventType])
	}
	request, err := payload.Parse([]byte(raw))
	if err != nil {
		return nil, err
	}
	out, err := handlers[eventType](r.t.Context(), r.task(eventType, []byte(raw), request))
	for _, c := range out {
		for _, l := range c.Links {
			r.ERP.Link(l.ItemType, l.ItemId, l.OriginId)
		}
	}
	return out, err
}

// Golden compares what handlers did with testdata/<name>.json; see Golden.
func (r *Rig) Golden(name string, closeOuts []*tiebackv1.CloseOut) {
	r.t.Helper()
	Golden(r.t, name, r.ERP, r.Procore, closeOuts)
}

// Samples returns Procore's published payloads without spaces, by event type.
func Samples(t testing.TB) map[string]json.RawMessage {
	t.Helper()
	samples := map[string]json.RawMessage{}
	for _, e := range dictionary.Entries() {
		var b bytes.Buffer
		if err := json.Compact(&b, e.Sample); err != nil {
			t.Fatal(err)
		}
		samples[e.Name] = b.Bytes()
	}
	return samples
}

// Golden compares the report of what handlers did with testdata/<name>.json; go test -update writes the file.
func Golden(t testing.TB, name string, e *ERP, p *Procore, closeOuts []*tiebackv1.CloseOut) {
	t.Helper()
	golden.Compare(t, filepath.Join("testdata", name+".json"), string(Report(t, e, p, closeOuts)))
}

// Report returns what handlers did as JSON that is the same each time. It clears the calls that p recorded.
func Report(t testing.TB, e *ERP, p *Procore, closeOuts []*tiebackv1.CloseOut) []byte {
	t.Helper()
	doc := struct {
		Booked          []json.RawMessage `json:"booked,omitempty"`
		Removed         []string          `json:"removed,omitempty"`
		NextGenerations []string          `json:"next_generations,omitempty"`
		Requests        []Request         `json:"procore_requests,omitempty"`
		CloseOuts       []json.RawMessage `json:"close_outs"`
	}{encode(t, e.Puts), e.Removed, e.NextGenerations, p.Take(), encode(t, closeOuts)}
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
		out = append(out, raw) // MarshalIndent removes the random spaces of protojson
	}
	return out
}

// Edit replaces texts in a sample: old, new, old, new … Each old text must be there.
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
