package links

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tieback/tieback/pkg/order"
)

// Kind says how a stored link differs from Procore.
type Kind string

// The kinds of changes.
const (
	New       Kind = "new"       // not stored; always saved
	Different Kind = "different" // stored with another origin id, or as ended
	Gone      Kind = "gone"      // Procore has no origin id for the record, or no such record
)

// Change is a difference between the stored links and Procore's.
type Change struct {
	Kind     Kind   `json:"kind"`
	ItemType string `json:"item_type"`
	ItemID   int64  `json:"item_id"`
	Stored   string `json:"stored_origin_id"`  // "": none
	Procore  string `json:"procore_origin_id"` // in Procore; "": none
	Saved    bool   `json:"saved"`

	order order.Key // of the stored link; "": none
}

// Type has the counts of one item type.
type Type struct {
	ItemType  string `json:"item_type"`
	Procore   int    `json:"in_procore"` // records with an origin id
	Same      int    `json:"same"`
	New       int    `json:"new"`
	Different int    `json:"different"`
	Gone      int    `json:"gone"`
	Unchecked int    `json:"unchecked"` // stored links that no list confirms or contradicts; they are unchanged
}

// Unread is a list that could not be read, or lacks lines.
type Unread struct {
	List     string `json:"list"` // its route's name
	ItemType string `json:"item_type"`
	Of       string `json:"of"` // "project 86"; "": the company, or all records that have such a list
	Why      string `json:"why"`
}

// Report is what a rebuild found and did.
type Report struct {
	Company int64    `json:"company_id"`
	DryRun  bool     `json:"dry_run"`
	Force   bool     `json:"force"`
	Lists   int      `json:"lists"` // that were read
	Types   []Type   `json:"types"`
	Changes []Change `json:"changes"`
	Unread  []Unread `json:"unread"`          // lists that Procore refused, or that need an id that is not known
	NoLines []Unread `json:"without_lines"`   // lists whose answers lack the lines of synced records
	Hidden  []int64  `json:"hidden_projects"` // linked projects that Procore does not list: not permitted to the app, or deleted
}

// Unchanged returns the number of changes that only Force makes.
func (r Report) Unchanged() int {
	n := 0
	for _, c := range r.Changes {
		if c.Kind != New && !r.Force {
			n++
		}
	}
	return n
}

// sum sorts the changes, and counts them and the equal links by type.
func (r *Report) sum(same, unchecked map[string]int) {
	types := map[string]*Type{}
	of := func(itemType string) *Type {
		if types[itemType] == nil {
			types[itemType] = &Type{ItemType: itemType}
		}
		return types[itemType]
	}
	for itemType, n := range same {
		of(itemType).Same, of(itemType).Procore = n, n
	}
	for itemType, n := range unchecked {
		of(itemType).Unchecked = n
	}
	for _, c := range r.Changes {
		of(c.ItemType).count(c)
	}
	r.Types = []Type{}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		r.Types = append(r.Types, *types[name])
	}
	slices.SortFunc(r.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.ItemType, b.ItemType), cmp.Compare(a.ItemID, b.ItemID))
	})
}

func (t *Type) count(c Change) {
	switch c.Kind {
	case New:
		t.New++
	case Different:
		t.Different++
	case Gone:
		t.Gone++
	}
	if c.Procore != "" {
		t.Procore++
	}
}
