// Package docs writes the parts of the README that derive from the catalogue.
package docs

import (
	"fmt"
	"io"
	"strings"

	"github.com/tieback/tieback/pkg/catalogue"
)

// Catalogue writes the table of event types in Markdown.
func Catalogue(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| event type | category | request detail | marked as synced | other writes to Procore |\n|---|---|---|---|---|\n")
	for _, c := range catalogue.Categories {
		for _, e := range catalogue.Of(c) {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", e.Name, who(e), detail(e), marks(e), writes(e))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func who(e catalogue.EventType) string {
	if e.SuperUser {
		return string(e.Category) + ", by a super user"
	}
	return string(e.Category)
}

func detail(e catalogue.EventType) string {
	if !e.HasDetail() {
		return "if there is one"
	}
	return "`" + strings.TrimPrefix(strings.Join(e.DetailAt, ", "), ".") + "`"
}

func marks(e catalogue.EventType) string {
	var types []string
	for _, m := range e.Marks {
		types = append(types, strings.ReplaceAll(m.ItemType, " | ", ", "))
	}
	return strings.Join(types, "; ")
}

func writes(e catalogue.EventType) string {
	return strings.ReplaceAll(strings.Join(e.Writes, "; "), "|", "\\|")
}
