// Package bulk reads all records of an ERP's entity, writes them to Procore with sync actions and reports the
// result: the refused records, those left out, and the new links.
package bulk

import (
	"context"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Record is the canonical record; see proto/tieback/v1/connector.proto.
type Record = tiebackv1.Record

// Item is one record to be written to Procore.
type Item struct {
	Record *Record
	Update map[string]any // the item of the sync action; it has an origin_id
}

// Refusal is a record that Procore did not accept, and the reason.
type Refusal struct {
	Record *Record // nil: Procore's answer names no record that was sent
	Why    string
}

// Answer is Procore's response to a set of items.
type Answer struct {
	IDs     map[string]int64 // Procore's ids by origin id, of the accepted items
	Refused []Refusal
}

// Write sends items in one sync action, in as many calls as needed, and makes no call without items. On
// an error, Procore may have accepted some of the items; writing all of them again is harmless.
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

// find returns the record of the item that Procore echoes, by origin id or, if the echo has no origin id, by id.
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

// Links returns the links of those ids that the map known does not have, so that a sync without changes stores
// nothing.
func (a Answer) Links(itemType string, known map[string]int64) []*tiebackv1.Link {
	var links []*tiebackv1.Link
	for origin, id := range a.IDs {
		if known[origin] != id {
			links = append(links, &tiebackv1.Link{ItemType: itemType, ItemId: id, OriginId: origin})
		}
	}
	return links
}

// Term returns Procore's term for a term of the ERP: the same word except for case, spaces and hyphens, or the
// word that the map synonyms has for it. It returns "" if Procore has no such term; the field is then left out.
func Term(erp string, terms []string, synonyms map[string]string) string {
	w := underscores.Replace(strings.ToLower(strings.TrimSpace(erp)))
	if slices.Contains(terms, w) {
		return w
	}
	return synonyms[w]
}

var underscores = strings.NewReplacer(" ", "_", "-", "_")

// Fields makes an object of name, value pairs. It leaves out empty strings and zero ids, so that a value that
// the ERP lacks does not delete Procore's value.
func Fields(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if v := pairs[i+1]; v != "" && v != int64(0) {
			m[pairs[i].(string)] = v
		}
	}
	return m
}
