package bulk

import (
	"fmt"
	"strings"
	"testing"
)

func TestLevelsPutsParentsFirst(t *testing.T) {
	for name, c := range map[string]struct {
		family string // child<parent
		known  string
		want   string
	}{
		"parents first":                {"c<b b<a a<", "", "a|b|c"},
		"a known parent need not wait": {"c<b b<a a<", "a b", "c b a"},
		"a parent that is not there":   {"b<x a<", "", "b a"},
		"its own parent":               {"a<a b<a", "", "a|b"},
		"a cycle comes last":           {"a<b b<a c<", "", "c|a b"},
		"nothing":                      {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var records []*Record
			for _, s := range strings.Fields(c.family) {
				child, parent, _ := strings.Cut(s, "<")
				records = append(records, &Record{OriginId: child, ParentOriginId: parent})
			}
			ids := map[string]int64{}
			for i, s := range strings.Fields(c.known) {
				ids[s] = int64(i + 1)
			}
			var got []string
			for _, level := range levels(records, ids) {
				var origins []string
				for _, r := range level {
					origins = append(origins, r.OriginId)
				}
				got = append(got, strings.Join(origins, " "))
			}
			if s := strings.Join(got, "|"); s != c.want {
				t.Error(s)
			}
		})
	}
}

// A value that the ERP lacks must not delete Procore's; false and 0.00 are values.
func TestFieldsOmitsEmptyStringsAndZeroIDs(t *testing.T) {
	got := Fields("id", int64(0), "name", "", "amount", "0.00", "active", false)
	if fmt.Sprint(got) != "map[active:false amount:0.00]" {
		t.Error(got)
	}
}
