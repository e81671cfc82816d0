package links

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tieback/tieback/pkg/order"
)

// Kind says how Procore and the bucket stand to each other about one record.
type Kind string

// The kinds of changes.
const (
	New       Kind = "new"       // the bucket knows nothing of it: always saved
	Different Kind = "different" // another origin id, or the bucket has the link as ended
	Gone      Kind = "gone"      // Procore has the record not synced, or not at all
)

// Change is one link that a rebuild makes, or would make.
type Change struct {
	Kind     Kind   `json:"kind"`
	ItemType string `json:"item_type"`
	ItemID   int64  `json:"item_id"`
	Known    string `json:"known_origin_id"`   // in the bucket; "": none
	Procore  string `json:"procore_origin_id"` // in Procore; "": none
	Saved    bool   `json:"saved"`

	order order.Key // of the link that it replaces; "": none
}

// Type sums an item type up.
type Type struct {
	ItemType  string `json:"item_type"`
	Procore   int    `json:"in_procore"` // records with an origin id
	Same      int    `json:"same"`
	New       int    `json:"new"`
	Different int    `json:"different"`
	Gone      int    `json:"gone"`
	Unchecked int    `json:"unchecked"` // links that no list could confirm or refute: left as they are
}

// Unread is a list that could not be read, or did not hold what it should.
type Unread struct {
	List     string `json:"list"` // its route's name
	ItemType string `json:"item_type"`
	Of       string `json:"of"` // "project 86"; "": the company, or all that the list is read of
	Why      string `json:"why"`
}

// Report is what a rebuild found and did.
type Report struct {
	Company int64    `json:"company"`
	DryRun  bool     `json:"dry_run"`
	Force   bool     `json:"force"`
	Lists   int      `json:"lists"` // read, of any number of pages each
	Types   []Type   `json:"types"`
	Changes []Change `json:"changes"`
	Unread  []Unread `json:"unread"`          // lists that Procore refused, or that we know too little to ask for
	NoLines []Unread `json:"no_lines"`        // lists whose answers did not hold the lines of all synced records
	Hidden  []int64  `json:"hidden_projects"` // linked projects that Procore does not list: not permitted to our account, or deleted
}

// Left counts the changes that only --force makes.
func (r Report) Left() int {
	n := 0
	for _, c := range r.Changes {
		if c.Kind != New && !r.Force {
			n++
		}
	}
	return n
}

// sum sorts the changes and counts them, and the links that agree, by type.
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
