package links

import (
	"cmp"
	"maps"
	"slices"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// The kinds of changes: how a stored link differs from Procore.
const (
	New       = "new"       // not stored; always saved
	Different = "different" // stored with another origin id, or as ended
	Gone      = "gone"      // Procore has no origin id for the record, or no such record
)

// Unchanged returns the number of a report's changes that only Force makes.
func Unchanged(r *operatorv1.LinkReport) int {
	n := 0
	for _, c := range r.Changes {
		if c.Kind != New && !r.Force {
			n++
		}
	}
	return n
}

// sum sorts the changes, and counts them and the equal links by type.
func sum(r *operatorv1.LinkReport, same, unchecked map[string]int32) {
	types := map[string]*operatorv1.LinkCount{}
	of := func(itemType string) *operatorv1.LinkCount {
		if types[itemType] == nil {
			types[itemType] = &operatorv1.LinkCount{ItemType: itemType}
		}
		return types[itemType]
	}
	for itemType, n := range same {
		of(itemType).Same, of(itemType).InProcore = n, n
	}
	for itemType, n := range unchecked {
		of(itemType).Unchecked = n
	}
	for _, c := range r.Changes {
		t := of(c.ItemType)
		switch c.Kind {
		case New:
			t.New++
		case Different:
			t.Different++
		case Gone:
			t.Gone++
		}
		if c.ProcoreOriginId != "" {
			t.InProcore++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		r.Types = append(r.Types, types[name])
	}
	slices.SortFunc(r.Changes, func(a, b *operatorv1.LinkChange) int {
		return cmp.Or(cmp.Compare(a.ItemType, b.ItemType), cmp.Compare(a.ItemId, b.ItemId))
	})
}
