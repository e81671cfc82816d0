// Package catalogue is the table of Procore's ERP event types. Subjects, routing, handlers, metric labels, the sandbox's
// scenario and the documentation derive from it.
//
// The source is Procore's ERP Events Dictionary. Package dictionary has its facts, and a test compares each row with
// them.
//
// # A new event type
//
// When Procore publishes a new event type:
//
//  1. Add its facts and its sample to dictionary/events.json, and its row to Table. TestTableMatchesTheDictionary
//     compares them. The row's Outcome says what the outcome of an event may contain; the status-reporter refuses anything else.
//  2. Add a reader of the payload to package payload and its table of the category (exported, unlinked or reset), and the handler to the Handlers of the row's category: package
//     exports, syncs, imports, unlinks or resets. worker.New refuses to start without a handler for each row.
//  3. Run go test ./services/worker/... -update and read the new golden file, testdata/<name>.json. A test compares the
//     item types in all golden files with the rows' Outcome.
//  4. If the handler makes a new call to Procore, add its route to package procore. The tests check each call against
//     Procore's published operations.
//  5. Add a step that raises the event to the sandbox's scenario, and run make run.
//  6. Run make generate, which updates the event types in the documentation.
package catalogue

import (
	"slices"
	"strings"
)

// Category is what a user requests. Each category has a worker service.
type Category string

// The five categories.
const (
	Export Category = "export"
	Sync   Category = "sync"
	Import Category = "import"
	Unlink Category = "unlink"
	Reset  Category = "reset"
)

// Categories lists all categories, in the order of a record's life.
var Categories = []Category{Export, Sync, Import, Unlink, Reset}

// Unknown is used in subjects and labels for a type or category that is not in the table.
const Unknown = "_"

// EventType is one row of the table: the facts of an ERP request type and what it requires.
type EventType struct {
	Name     string
	Aliases  []string // other request names under which it arrives
	Category Category
	Entity   string // Procore's name of the entity

	SuperUser      bool // started by a super user with a support tool
	ActionRequired bool // Procore requires a response

	// DetailAt has the paths of the request detail ids in Procore's sample, from the top of the ERP request;
	// "[]" is each item of an array. Payloads are searched completely anyway: a sample without an id does not
	// prove that the payloads have none.
	DetailAt []string
	Marks    []Mark   // external data, written when the ERP has the records
	Writes   []string // other writes to Procore, in the dictionary's words

	Outcome Outcome
}

// Outcome says what the outcome of an event may contain, besides the results of its request details and the
// marks in Marks. Strings are item types of external data. The zero value allows nothing. The status-reporter
// refuses an outcome that contains anything else.
type Outcome struct {
	Unmark       []string // marks as not synced
	Unlink       []string // unlinks through status management
	Link         []string // links to an origin id that Tieback keeps; no call is made
	Forget       []string // removals of links that Tieback keeps; no call is made
	Assignments  bool     // marks of cost type assignments as synced
	Transactions bool     // marks of a budget's ERP transactions as synced
}

// ItemTypes returns the item types of the row's Marks, each once.
func (e EventType) ItemTypes() []string {
	var all []string
	for _, m := range e.Marks {
		types, _, _ := strings.Cut(m.ItemType, " (")
		all = append(all, strings.Split(types, " | ")...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Mark says which records get external data, and under which item type.
type Mark struct {
	ItemType string // several, separated by " | ", if the record decides
	ItemIDAt string // a path as in DetailAt
}

// Lookup returns the row of a request name as Procore sends it.
func Lookup(requestName string) (EventType, bool) {
	i, ok := byName[requestName]
	if !ok {
		return EventType{}, false
	}
	return Table[i], true
}

// Of returns the rows of a category, in the order of the table.
func Of(c Category) []EventType {
	return slices.DeleteFunc(slices.Clone(Table), func(e EventType) bool { return e.Category != c })
}

// HasDetail reports whether Procore's sample of this type has a request detail.
func (e EventType) HasDetail() bool { return len(e.DetailAt) > 0 }

// Label returns the type in words: "create vendor".
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
