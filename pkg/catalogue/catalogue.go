// Package catalogue is the one table of Procore's ERP event types. Subjects, routing,
// handlers, metrics labels, the sandbox's scenario and the docs derive from it.
//
// Source: Procore's ERP Events Dictionary; testdata/events.json holds its facts, and a
// test compares each row with them.
package catalogue

import (
	"slices"
	"strings"
)

// Category says what a user asked for; each has a worker service of its own.
type Category string

// The five categories.
const (
	Export Category = "export"
	Sync   Category = "sync"
	Import Category = "import"
	Unlink Category = "unlink"
	Reset  Category = "reset"
)

// Categories lists all five, in the order of a record's life.
var Categories = []Category{Export, Sync, Import, Unlink, Reset}

// Unknown stands in subjects and labels for a type or category that is not in the table.
const Unknown = "_"

// EventType is one row: what an ERP request of this type is and what it demands.
type EventType struct {
	Name     string
	Aliases  []string // other request names it arrives under
	Category Category
	Entity   string // Procore's name for what it is about

	SuperUser      bool // started with a support tool, by a super user
	ActionRequired bool // Procore requires an answer

	// DetailAt says where Procore's sample has its request detail ids, as a path from the
	// top of the ERP request; "[]" is each item of an array. Payloads are searched whole
	// all the same: a sample without one says only that the sample lacks it.
	DetailAt []string
	Marks    []Mark   // external data written when the ERP has the records
	Writes   []string // other writes to Procore, in the dictionary's words

	Outcome Outcome
}

// Outcome says what the outcome of an event may hold, beside the ends of its request details and the marks of
// its Marks. Strings are item types of external data. The zero value allows nothing. The status-reporter refuses
// an outcome that holds anything else.
type Outcome struct {
	Unmark       []string // marked as not synced
	Unlink       []string // unlinked by status management
	Link         []string // linked to an origin id by us; no call is made
	Forget       []string // our link ended; no call is made
	Assignments  bool     // marks cost type assignments as synced
	Transactions bool     // marks ERP transactions of a budget as synced
}

// ItemTypes lists the item types of the row's Marks, each once.
func (e EventType) ItemTypes() []string {
	var all []string
	for _, m := range e.Marks {
		types, _, _ := strings.Cut(m.ItemType, " (")
		all = append(all, strings.Split(types, " | ")...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Mark says which records get external data, and with which item type.
type Mark struct {
	ItemType string // several, parted by " | ", where the record decides
	ItemIDAt string // a path as in DetailAt
}

// Lookup finds the row for a request name as Procore sends it.
func Lookup(requestName string) (EventType, bool) {
	i, ok := byName[requestName]
	if !ok {
		return EventType{}, false
	}
	return Table[i], true
}

// Of lists the rows of a category, in the table's order.
func Of(c Category) []EventType {
	return slices.DeleteFunc(slices.Clone(Table), func(e EventType) bool { return e.Category != c })
}

// HasDetail says whether Procore's sample of this type carries a request detail.
func (e EventType) HasDetail() bool { return len(e.DetailAt) > 0 }

// Label is the type in a person's words: "create vendor".
func (e EventType) Label() string { return strings.ReplaceAll(e.Name, "_", " ") }

var byName = index()

func index() map[string]int {
	m := make(map[string]int, len(Table)+1)
	for i, e := range Table {
		m[e.Name] = i
		for _, a := range e.Aliases {
			m[a] = i
		}
	}
	return m
}
