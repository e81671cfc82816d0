package links

import (
	"slices"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/procore/schema"
)

// A list whose published answer lacks origin_id says nothing of links, and one without the lines leads to
// another list of them.
func TestPublishedListsShowWhatIsReadOfThem(t *testing.T) {
	read := 0
	for _, l := range table {
		answers := schema.Answers(l.route.Method, strings.ReplaceAll(l.route.Path, "{id}", "{project_id}"))
		if answers == nil {
			continue // not published, or cut
		}
		read++
		if !slices.Contains(answers, "origin_id") {
			t.Errorf("%s: its published answer has no origin_id: %v", l.route.Name, answers)
		}
		if l.lines != nil && !slices.Contains(answers, l.lines.key) && !slices.ContainsFunc(table, func(c list) bool { return c.instead && c.per == l.itemType }) {
			t.Errorf("%s: its published answer has no %s, and no other list has them", l.route.Name, l.lines.key)
		}
	}
	if read < 8 {
		t.Errorf("of %d lists the answer is published", read)
	}
}
