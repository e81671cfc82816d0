package connector

import (
	"fmt"
	"hash/maphash"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Limits beyond which a listing counts as endless. Both are far more than an ERP needs.
const (
	maxStalePages = 100       // consecutive pages without a new record
	maxChanges    = 2_000_000 // records, or pages, of one listing
)

// listing follows a listing to detect one that never ends.
type listing struct {
	entity  tiebackv1.Entity
	seed    maphash.Seed
	cursors map[uint64]bool // hashes of the cursors that were sent
	records map[uint64]bool // hashes of the records that were received
	pages   int
	stale   int // pages since the last one with a new record
}

func newListing(q *tiebackv1.ListRequest) *listing {
	l := &listing{entity: q.Entity, seed: maphash.MakeSeed(), cursors: map[uint64]bool{}, records: map[uint64]bool{}}
	l.cursors[maphash.String(l.seed, q.Cursor)] = true
	return l
}

// add adds the next page. It returns an error if the listing would never end.
func (l *listing) add(page *tiebackv1.ListResponse) error {
	before := len(l.records)
	for _, c := range page.Changes {
		l.records[l.identity(c)] = true
	}
	l.pages, l.stale = l.pages+1, l.stale+1
	if len(l.records) > before {
		l.stale = 0
	}
	if !page.More {
		return nil
	}
	cursor := maphash.String(l.seed, page.Cursor)
	switch {
	case l.cursors[cursor]:
		return l.endless("its cursor %q does not advance", fault.Name(page.Cursor))
	case l.stale >= maxStalePages:
		return l.endless("its last %d pages have no new record", l.stale)
	case len(l.records) > maxChanges || l.pages > maxChanges:
		return l.endless("%d pages with %d records are more than an ERP has", l.pages, len(l.records))
	}
	l.cursors[cursor] = true
	return nil
}

// identity returns a hash that identifies the record of a change, whatever its content.
func (l *listing) identity(c *tiebackv1.Change) uint64 {
	if id := c.GetRecord().GetOriginId(); id != "" {
		return maphash.String(l.seed, id)
	}
	raw, _ := proto.MarshalOptions{Deterministic: true}.Marshal(c) // can't fail: c was unmarshaled, or made by one of our drivers
	return maphash.Bytes(l.seed, raw)
}

func (l *listing) endless(format string, args ...any) error {
	return fault.From(fault.FromERP, fault.New(fault.Permanent,
		fmt.Errorf("the connector reports more %s, but %s: correct the connector's List", Plural(l.entity), fmt.Sprintf(format, args...))))
}
