package worker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// The outcomes in the golden files of all handlers contain exactly what the rows of the catalogue allow. The
// name of a golden file contains its event type.
func TestCatalogueRowsAllowWhatHandlersWrite(t *testing.T) {
	files, err := filepath.Glob("*/testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string][]string{}
	for _, file := range files {
		name := typeOf(t, file)
		for _, c := range closeOuts(t, file) {
			written[name] = append(written[name], contents(c)...)
		}
	}
	for _, row := range catalogue.Table {
		t.Run(row.Name, func(t *testing.T) {
			allows := allowed(row)
			for _, what := range written[row.Name] {
				if !slices.Contains(allows, what) {
					t.Errorf("a handler writes %q, which the row lacks", what)
				}
			}
			for _, what := range allows {
				if !slices.Contains(written[row.Name], what) {
					t.Errorf("the row allows %q, which no golden file has", what)
				}
			}
		})
	}
}

// typeOf returns the event type in the name of a golden file: the longest one, as some names contain another.
func typeOf(t *testing.T, file string) string {
	t.Helper()
	found := ""
	for _, row := range catalogue.Table {
		if strings.Contains(filepath.Base(file), row.Name) && len(row.Name) > len(found) {
			found = row.Name
		}
	}
	if found == "" {
		t.Errorf("%s: its name has no event type", file)
	}
	return found
}

func closeOuts(t *testing.T, file string) []*tiebackv1.CloseOut {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		CloseOuts []json.RawMessage `json:"close_outs"`
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var all []*tiebackv1.CloseOut
	for _, raw := range golden.CloseOuts {
		c := &tiebackv1.CloseOut{}
		if err := protojson.Unmarshal(raw, c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, c)
	}
	return all
}

// contents returns what a close-out contains, in the terms of allowed.
func contents(c *tiebackv1.CloseOut) []string {
	var all []string
	for _, m := range c.Marks {
		if m.OriginId == "" {
			all = append(all, "unmark "+m.ItemType)
			continue
		}
		all = append(all, "mark "+m.ItemType)
	}
	for _, u := range c.Unlinks {
		all = append(all, "unlink "+u.ItemType)
	}
	for _, l := range c.Links {
		if l.OriginId == "" {
			all = append(all, "forget "+l.ItemType)
			continue
		}
		all = append(all, "link "+l.ItemType)
	}
	if len(c.Assignments) > 0 {
		all = append(all, "assignments")
	}
	if len(c.BudgetTransactions) > 0 {
		all = append(all, "transactions")
	}
	return all
}

// allowed returns what a row allows.
func allowed(row catalogue.EventType) []string {
	var all []string
	for verb, types := range map[string][]string{
		"mark ": row.ItemTypes(), "unmark ": row.Allowed.Unmark, "unlink ": row.Allowed.Unlink, "link ": row.Allowed.Link, "forget ": row.Allowed.Forget,
	} {
		for _, itemType := range types {
			all = append(all, verb+itemType)
		}
	}
	if row.Allowed.Assignments {
		all = append(all, "assignments")
	}
	if row.Allowed.Transactions {
		all = append(all, "transactions")
	}
	return all
}
