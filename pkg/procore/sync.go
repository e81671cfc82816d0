package procore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
)

// MaxUpdates is how many resources one call of a sync action takes.
const MaxUpdates = 1000

// SyncCall is a sync action over any number of updates.
type SyncCall struct {
	Route    Route
	Query    url.Values
	Envelope map[string]any // what stands beside "updates": company_id, project_id …
	Updates  []map[string]any
}

// ItemError is one update that Procore refused inside its 200.
type ItemError struct {
	Item map[string]any // as Procore echoes it
	Why  string         // its reasons in words
}

// SyncResult is what all chunks of a SyncCall came to.
type SyncResult struct {
	Entities []map[string]any
	Refused  []ItemError
}

// Sync makes a sync action in chunks of at most MaxUpdates. The answer's status is 200 even
// when items fail: read Refused. An error means that the chunk it happened in, and those
// after it, are not known to have been taken; making the whole call again is harmless.
func (s *Session) Sync(ctx context.Context, c SyncCall) (SyncResult, error) {
	var all SyncResult
	for chunk := range slices.Chunk(c.Updates, MaxUpdates) {
		body := map[string]any{"updates": chunk}
		for k, v := range c.Envelope {
			body[k] = v
		}
		raw, err := s.Do(ctx, Call{Route: c.Route, Query: c.Query, Body: body})
		if err != nil {
			return all, err
		}
		entities, refused, err := parseSync(raw)
		if err != nil {
			return all, fault.From(fault.FromProcore, fault.New(fault.Ambiguous, fmt.Errorf("%s: answer does not parse: %w", c.Route.Name, err)))
		}
		all.Entities = append(all.Entities, entities...)
		all.Refused = append(all.Refused, refused...)
	}
	return all, nil
}

func parseSync(raw []byte) ([]map[string]any, []ItemError, error) {
	var answer struct {
		Entities []map[string]any `json:"entities"`
		Errors   []map[string]any `json:"errors"`
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber() // ids need 64 bits
	if err := dec.Decode(&answer); err != nil {
		return nil, nil, err
	}
	if answer.Entities == nil && answer.Errors == nil { // a 200 that says nothing is no success
		return nil, nil, errors.New("it has neither entities nor errors")
	}
	var refused []ItemError
	for _, item := range answer.Errors {
		refused = append(refused, ItemError{Item: item, Why: words(item["errors"])})
	}
	return answer.Entities, refused, nil
}

// words turns Procore's errors value, of whatever shape, into "field: why; field: why".
func words(errs any) string {
	switch v := errs.(type) {
	case map[string]any:
		var parts []string
		for field, why := range v {
			parts = append(parts, strings.ReplaceAll(field, "_", " ")+": "+words(why))
		}
		slices.Sort(parts)
		return strings.Join(parts, "; ")
	case []any:
		var parts []string
		for _, why := range v {
			parts = append(parts, words(why))
		}
		return strings.Join(parts, ", ")
	case nil:
		return "no reason given"
	default:
		return fmt.Sprint(v)
	}
}
