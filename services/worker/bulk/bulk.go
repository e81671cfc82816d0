// Package bulk reads an ERP's records whole, writes them to Procore with its sync actions
// and says how that ended: what was refused, what was left out, what was learned.
package bulk

import (
	"context"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/payload"
)

// Record is the canonical record, see proto/tieback/v1/connector.proto.
type Record = tiebackv1.Record

// Item is one record on its way to Procore.
type Item struct {
	Record *Record
	Update map[string]any // as the sync action takes it; has an origin_id
}

// Refusal is a record that did not get into Procore, and why.
type Refusal struct {
	Record *Record // nil: Procore named none that we sent
	Why    string
}

// Answer is what Procore made of the items.
type Answer struct {
	IDs     map[string]int64 // Procore's ids by origin id, of the items it took
	Refused []Refusal
}

// Write sends items in one sync action, in as many calls as that takes; without items it
// makes none. On an error some may have been taken: writing all again is harmless.
func Write(ctx context.Context, s *procore.Session, call procore.SyncCall, items []Item) (Answer, error) {
	for _, i := range items {
		call.Updates = append(call.Updates, i.Update)
	}
	result, err := s.Sync(ctx, call)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{IDs: map[string]int64{}}
	for _, entity := range result.Entities {
		e := payload.Object(entity)
		if origin, id := e.Text("origin_id"), e.ID("id"); origin != "" && id != 0 {
			answer.IDs[origin] = id
		}
	}
	for _, refused := range result.Refused {
		answer.Refused = append(answer.Refused, Refusal{Record: find(items, refused.Item), Why: refused.Why})
	}
	return answer, nil
}

// find tells which item Procore echoes, by origin id or, where it echoes none, by id.
func find(items []Item, echo payload.Object) *Record {
	origin, id := echo.Text("origin_id"), echo.ID("id")
	for _, i := range items {
		if origin != "" && i.Record.OriginId == origin {
			return i.Record
		}
		if sent, _ := i.Update["id"].(int64); origin == "" && id != 0 && sent == id {
			return i.Record
		}
	}
	return nil
}

// Links turns newly learned ids into links: those that known has already are left out, so
// that a sync without news has nothing to remember.
func (a Answer) Links(itemType string, known map[string]int64) []*tiebackv1.Link {
	var links []*tiebackv1.Link
	for origin, id := range a.IDs {
		if known[origin] != id {
			links = append(links, &tiebackv1.Link{ItemType: itemType, ItemId: id, OriginId: origin})
		}
	}
	return links
}

// Word returns the word of Procore's that an ERP's word is: the same but for case, spaces and hyphens, or
// the one that other has for it. "": there is none, and the field is to be left out.
func Word(erp string, words []string, other map[string]string) string {
	w := strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(erp)))
	if slices.Contains(words, w) {
		return w
	}
	return other[w]
}

// Fields makes an object of name, value pairs; empty strings and zero ids are left out:
// what the ERP does not say is not taken from Procore.
func Fields(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if v := pairs[i+1]; v != "" && v != int64(0) {
			m[pairs[i].(string)] = v
		}
	}
	return m
}
