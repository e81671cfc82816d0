package fakes

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/payload"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Bench is company 7 with its ERP, its Procore and what the pipeline remembers of it.
type Bench struct {
	ERP     *ERP
	Procore *Procore
	State   *State
	Company *company.Company

	t       *testing.T
	session *procore.Session
}

// NewBench makes one.
func NewBench(t *testing.T) *Bench {
	b := &Bench{
		t: t, ERP: &ERP{}, Procore: NewProcore(t), Company: company.New(7, company.Secrets{ClientID: "id", ClientSecret: "secret"}),
		State: &State{cursors: map[string]string{}, links: map[string]map[string]int64{}},
	}
	b.Company.StandardCostCodeListID = 77
	url := b.Procore.Server.URL
	client, err := procore.New(procore.Config{APIURL: url, LoginURL: url}, company.Set{7: b.Company}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if b.session, err = client.Company(7); err != nil {
		t.Fatal(err)
	}
	return b
}

// Run hands an event to its handler; raw is the ERP request, "": the dictionary's sample.
// What the close-outs teach is learned, as the status-reporter does.
func (b *Bench) Run(handlers worker.Handlers, name, raw string) ([]*tiebackv1.CloseOut, error) {
	b.t.Helper()
	if raw == "" {
		raw = Sample(b.t, name)
	}
	request, err := payload.Parse([]byte(raw))
	if err != nil {
		return nil, err
	}
	row, _ := catalogue.Lookup(name)
	out, err := handlers[name](b.t.Context(), &worker.Task{
		Event: &tiebackv1.Event{CompanyId: 7, ErpRequestId: 1, Type: name, Payload: []byte(raw)}, Row: row, Payload: request,
		Company: b.Company, ERP: connector.New(b.ERP.Driver(), connector.Config{Company: 7}), Procore: b.session, State: b.State,
	})
	for _, c := range out {
		for _, l := range c.Links {
			b.State.Link(l.ItemType, l.ItemId, l.OriginId)
		}
	}
	return out, err
}

// Sample is the payload that Procore's dictionary publishes for a type.
func Sample(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "pkg", "catalogue", "testdata", "events.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Name   string          `json:"name"`
		Sample json.RawMessage `json:"sample"`
	}
	if err := json.Unmarshal(raw, &rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Name == name {
			return string(r.Sample)
		}
	}
	t.Fatalf("the dictionary has no %s", name)
	return ""
}

// Golden compares the writes since the last look, and the close-outs, with
// testdata/<name>.json.
func (b *Bench) Golden(name string, out []*tiebackv1.CloseOut) {
	b.t.Helper()
	closeOuts := make([]any, len(out))
	for i, c := range out {
		raw, err := protojson.Marshal(c)
		if err != nil {
			b.t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &closeOuts[i]); err != nil { // protojson's spaces vary
			b.t.Fatal(err)
		}
	}
	got, err := json.MarshalIndent(map[string]any{"requests": b.Procore.Requests(), "close_outs": closeOuts}, "", "  ")
	if err != nil {
		b.t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		b.t.Errorf("%s (%v) differs; got:\n%s", path, err, got)
	}
}

// State is a worker.State in memory.
type State struct {
	mu      sync.Mutex
	cursors map[string]string
	links   map[string]map[string]int64
}

// Link links a record, or ends its link.
func (s *State) Link(itemType string, id int64, origin string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links[itemType] == nil {
		s.links[itemType] = map[string]int64{}
	}
	maps.DeleteFunc(s.links[itemType], func(_ string, old int64) bool { return old == id })
	if origin != "" {
		s.links[itemType][origin] = id
	}
}

// LinkOf finds a record's origin id.
func (s *State) LinkOf(_ context.Context, _ int64, itemType string, id int64) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for origin, linked := range s.links[itemType] {
		if linked == id {
			return origin, nil
		}
	}
	return "", nil
}

// Links gives all of an item type.
func (s *State) Links(_ context.Context, _ int64, itemType string) (map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	links := map[string]int64{}
	maps.Copy(links, s.links[itemType])
	return links, nil
}

// Cursor gives what SaveCursor kept.
func (s *State) Cursor(_ context.Context, _ int64, entity string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursors[entity], nil
}

// SaveCursor keeps a cursor.
func (s *State) SaveCursor(_ context.Context, _ int64, entity, cursor string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursors[entity] = cursor
	return nil
}
