// Package catalogue is the table of Procore's ERP event types. Subjects, routing, metric labels and the
// documentation derive from it. Handlers, payload readers and the sandbox have entries of their own, which tests compare with it.
//
// The source is Procore's ERP Events Dictionary. Package dictionary has its facts, and a test compares each row with
// them.
//
// # A new event type
//
// When Procore publishes a new event type:
//
//  1. Add its facts and its sample to dictionary/events.json, and its row to Table. TestTableMatchesTheDictionary
//     compares them. The row's Allowed says what the outcome of an event may contain; the status-reporter refuses
//     anything else.
//  2. Add its handler to the Handlers of its category: package exports, syncs, imports, unlinks or resets. worker.New
//     refuses to start without a handler for each row. Package payload reads the payloads: exportReaders has the
//     readers with which the demo compares the ERP's books with the exports, and by which the console finds them;
//     unlinkSources and resetSources say where a payload has its links. If an import or a sync names its records under
//     new keys, add these to recordsOf in package services/console/index.
//  3. If the handler makes a new call to Procore, add its route to package procore. The tests check each call against
//     Procore's published operations.
//  4. Add what Procore does and expects to package sandbox: unlinkedBefore in press.go, if Procore unlinks the record
//     before it sends the event; expectations.go, if more than the row's marks must be true before a success;
//     itemtypes.go and sampleids.go, if the payload has records or ids under new keys. Add a step that raises the
//     event to sandbox/scenario, and run make run.
//  5. Write the golden files, and read the new ones: go test ./services/worker/exports -update (or syncs, imports,
//     unlinks, resets), and go test ./deploy/test/e2e -run TestWritesOfEachEventType -update. Other packages do not
//     know -update: do not run it on ./... A test compares the item types in the files with the rows' Allowed.
//  6. Correct the number of event types, 51, in the documents and tests: git grep -nE '51 (ERP )?event types|all 51|[^0-9]51[ )]' lists it, and
//     a few lines where 51 means something else. CHANGELOG.md stays.
//  7. Run make generate, which writes the table of docs/event-types.md. The other documents are written by hand; add a
//     line to CHANGELOG.md.
//
// # A new entity
//
// If the event type is about a record of a kind that the connectors do not know:
//
//  1. Add it to the enum Entity of proto/tieback/v1/connector.proto, with any new fields to Record, and run make
//     generate. Messages name it as the enum does; see connector.Noun.
//  2. Add it to the embedded ledger: traits in entity.go, and rules in journal.go if it has amounts.
//  3. Add it to package conformance: needs, and documents if it has lines with amounts, in records.go.
//  4. Add it to entities in package procore/metadata if Procore's ERP tool has it.
//  5. Add it to the connectors that can book it, tryton and typescript. A connector that does not declare it gets no
//     exports of it: they are refused with a message.
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

	// DetailAt has the paths of the request detail ids in Procore's sample: "request_data.items[].request_detail_id"
	// starts at the top of the ERP request, and "[]" is each item of an array. The services search the whole payload
	// anyway: a sample without an id does not prove that the payloads have none.
	DetailAt []string
	Marks    []Mark   // external data, written when the ERP has the records
	Writes   []string // other writes to Procore, in the dictionary's words

	Allowed Allowed
}

// Allowed says what the outcome of an event may contain, besides the results of its request details and the
// marks in Marks. Strings are item types of external data. The zero value allows nothing. The status-reporter
// refuses an outcome that contains anything else.
//
// Exports have Forget because the record may be deleted in Procore. Then the export removes it from the ERP, and its
// link with it.
type Allowed struct {
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
