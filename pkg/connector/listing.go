package connector

import (
	"fmt"
	"hash/maphash"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// When a listing counts as one without end. Both are far more than an ERP needs.
const (
	staleMost   = 100       // pages in a row without a record that was not on an earlier one
	changesMost = 2_000_000 // records, or pages, of one listing
)

// listing follows a listing, to end one whose connector never does.
type listing struct {
	entity  tiebackv1.Entity
	seed    maphash.Seed
	cursors map[uint64]bool // hashes of those that were sent
	records map[uint64]bool // hashes of those that came
	pages   int
	stale   int // pages since the last with a new record
}

func newListing(q *tiebackv1.ListRequest) *listing {
	l := &listing{entity: q.Entity, seed: maphash.MakeSeed(), cursors: map[uint64]bool{}, records: map[uint64]bool{}}
	l.cursors[maphash.String(l.seed, q.Cursor)] = true
	return l
}

// add takes the next page. An error says that the connector would go on for ever.
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
		return l.endless("its cursor %q does not get on", fault.Name(page.Cursor))
	case l.stale >= staleMost:
		return l.endless("its last %d pages have no new record", l.stale)
	case len(l.records) > changesMost || l.pages > changesMost:
		return l.endless("%d pages with %d records are more than an ERP has", l.pages, len(l.records))
	}
	l.cursors[cursor] = true
	return nil
}

// identity is the record of a change, whatever it says of it.
func (l *listing) identity(c *tiebackv1.Change) uint64 {
	if id := c.GetRecord().GetOriginId(); id != "" {
		return maphash.String(l.seed, id)
	}
	raw, _ := proto.MarshalOptions{Deterministic: true}.Marshal(c) // it was unmarshalled, or made by a driver of ours
	return maphash.Bytes(l.seed, raw)
}

func (l *listing) endless(format string, args ...any) error {
	return fault.From(fault.FromERP, fault.New(fault.Permanent,
		fmt.Errorf("the connector says that there are more %s, but %s: correct the connector's List", Plural(l.entity), fmt.Sprintf(format, args...))))
}
