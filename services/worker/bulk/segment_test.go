package bulk

import (
	"testing"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Procore itself puts the parent's code in front: "01-100" below "01" would become "01-01-100".
func TestSegmentsOmitsTheCodeOfTheParent(t *testing.T) {
	records := []*tiebackv1.Record{
		{OriginId: "a", Code: "01"},
		{OriginId: "b", Code: "01-100", ParentOriginId: "a"},
		{OriginId: "c", Code: "01-100.5", ParentOriginId: "b"},
		{OriginId: "d", Code: "100", ParentOriginId: "a"},
		{OriginId: "e", Code: "0110", ParentOriginId: "a"},
		{OriginId: "f", Code: "01-200", ParentOriginId: "elsewhere"},
	}
	got := Segments(records)
	for origin, want := range map[string]string{"a": "01", "b": "100", "c": "5", "d": "100", "e": "0110", "f": "01-200"} {
		if got[origin] != want {
			t.Errorf("%s: %q, want %q", origin, got[origin], want)
		}
	}
}
