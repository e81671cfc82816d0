package catalogue_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/catalogue/dictionary"
)

// The table must agree with the published facts of the dictionary.
func TestTableMatchesTheDictionary(t *testing.T) {
	facts := dictionary.Entries()
	if len(facts) != 51 || len(catalogue.Table) != len(facts) {
		t.Fatalf("the dictionary has %d types, the table %d; want 51", len(facts), len(catalogue.Table))
	}
	for _, f := range facts {
		t.Run(f.Name, func(t *testing.T) {
			for _, name := range f.RequestNames {
				if row, ok := catalogue.Lookup(name); !ok || row.Name != f.Name {
					t.Errorf("Lookup(%q) = %q, %v", name, row.Name, ok)
				}
			}
			row, _ := catalogue.Lookup(f.Name)
			if string(row.Category) != f.Category || row.Entity != f.Entity || row.SuperUser != f.SuperUser || row.ActionRequired != f.ActionRequired {
				t.Errorf("row %+v, dictionary %+v", row, f)
			}
			if !slices.Equal(row.DetailAt, f.DetailAt) || !slices.Equal(row.Writes, f.Writes) {
				t.Errorf("row %+v, dictionary %+v", row, f)
			}
			var marks []catalogue.Mark
			for _, m := range f.Marks {
				marks = append(marks, catalogue.Mark{ItemType: m.ItemType, ItemIDAt: m.ItemIDAt})
			}
			if !slices.Equal(row.Marks, marks) {
				t.Errorf("marks %v, dictionary %v", row.Marks, marks)
			}
		})
	}
}

// The dictionary decides some contents of outcomes: only exports have marks, only unlinks and resets unlink records, and two
// writes in the dictionary are made from outcomes. The rest is compared with what the handlers write: see
// TestCatalogueRowsAllowWhatHandlersWrite in services/worker.
func TestOutcomesFollowTheDictionary(t *testing.T) {
	for _, row := range catalogue.Table {
		t.Run(row.Name, func(t *testing.T) {
			may, writes := row.Allowed, strings.Join(row.Writes, " ")
			if may.Assignments != strings.Contains(writes, "cost_code_line_item_types/sync") || may.Transactions != strings.Contains(writes, "erp_transactions/sync") {
				t.Errorf("it may %+v; the dictionary says %q", may, writes)
			}
			undoes := row.Category == catalogue.Unlink || row.Category == catalogue.Reset
			if len(may.Unmark)+len(may.Unlink) > 0 && !undoes || len(row.Marks) > 0 && row.Category != catalogue.Export {
				t.Errorf("a %s may %+v and marks %v", row.Category, may, row.Marks)
			}
			if links := row.Category == catalogue.Import || row.Category == catalogue.Sync; len(may.Link) > 0 && !links {
				t.Errorf("a %s may link %v", row.Category, may.Link)
			}
		})
	}
}

func TestItemTypes(t *testing.T) {
	row, _ := catalogue.Lookup("create_requisitions")
	want := []string{"requisition", "requisition_change_order_item", "requisition_contract_detail_item", "requisition_contract_item"}
	if got := row.ItemTypes(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestEveryTypeHasOneCategory(t *testing.T) {
	total := 0
	for _, c := range catalogue.Categories {
		total += len(catalogue.Of(c))
	}
	if total != len(catalogue.Table) {
		t.Errorf("the categories have %d types, the table %d", total, len(catalogue.Table))
	}
}

func TestLookupOfAnUnknownName(t *testing.T) {
	if _, ok := catalogue.Lookup("create_spaceship"); ok {
		t.Error("found a type that Procore does not have")
	}
}
