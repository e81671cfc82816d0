// Package dictionary has Procore's ERP Events Dictionary: the published facts and a sample payload of each event type.
// The sandbox and the tests use it. The services do not contain it; package catalogue has their table.
package dictionary

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"
)

//go:embed events.json
var raw []byte

// Entry is an event type as Procore publishes it.
type Entry struct {
	Name           string          `json:"name"`
	RequestNames   []string        `json:"request_names"` // under which it arrives
	Category       string          `json:"category"`
	Entity         string          `json:"entity"`
	SuperUser      bool            `json:"super_user"`
	ActionRequired bool            `json:"action_required"`
	DetailAt       []string        `json:"request_detail_at"` // paths of the request detail ids in Sample
	Marks          []Mark          `json:"external_data"`
	Writes         []string        `json:"procore_writes"`
	Sample         json.RawMessage `json:"sample"` // an ERP request
}

// Mark says which records get external data.
type Mark struct {
	ItemType string `json:"item_type"`
	ItemIDAt string `json:"item_id_at"` // a path in Sample
}

// Entries returns all event types in the order of the dictionary. Callers must not change them.
var Entries = sync.OnceValue(func() []Entry {
	var entries []Entry
	if err := json.Unmarshal(raw, &entries); err != nil {
		panic(fmt.Sprintf("dictionary: events.json: %v", err))
	}
	return entries
})

// Sample returns the sample payload of an event type.
func Sample(eventType string) (json.RawMessage, bool) {
	for _, e := range Entries() {
		if e.Name == eventType {
			return e.Sample, true
		}
	}
	return nil, false
}
