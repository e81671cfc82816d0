package sandbox

import (
	"bytes"
	_ "embed" // the dictionary
	"encoding/json"
	"fmt"
)

// dictionary is Procore's ERP Events Dictionary: 51 event types with a sample each.
//
//go:embed events.json
var dictionary []byte

type dictionaryEntry struct {
	Name         string          `json:"name"`
	RequestNames []string        `json:"request_names"`
	Sample       json.RawMessage `json:"sample"`
}

var samples = readDictionary()

func readDictionary() map[string]dictionaryEntry {
	var list []dictionaryEntry
	if err := json.Unmarshal(dictionary, &list); err != nil {
		panic(fmt.Sprintf("events.json, which is built in, does not parse: %v", err))
	}
	out := make(map[string]dictionaryEntry, len(list))
	for _, e := range list {
		out[e.Name] = e
	}
	return out
}

// Published is the sample payload as Procore published it, numbers as written.
func Published(eventType string) (map[string]any, error) {
	e, known := samples[eventType]
	if !known {
		return nil, fmt.Errorf("event type %q is not in the dictionary", eventType)
	}
	dec := json.NewDecoder(bytes.NewReader(e.Sample))
	dec.UseNumber()
	var out map[string]any
	return out, dec.Decode(&out)
}
