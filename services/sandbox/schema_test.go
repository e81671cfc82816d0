package sandbox

import (
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/procore/schema"
)

// Each route of the sandbox is published or a row of unpublished.json, and each row is a route of the sandbox.
func TestRoutesAreThoseOfTheSchema(t *testing.T) {
	served := map[string]bool{}
	for _, r := range apiRoutes() {
		method, path, _ := strings.Cut(r.pattern, " ")
		if !schema.Known(method, path) {
			t.Errorf("%s is neither published nor in unpublished.json", r.pattern)
		}
		served[blank(method+" "+path)] = true
	}
	for _, row := range schema.Unpublished() {
		if !served[blank(row)] {
			t.Errorf("unpublished.json has %s, which the sandbox does not serve: delete the row", row)
		}
	}
}

// blank removes the names of placeholders.
func blank(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = "{}"
		}
	}
	return strings.Join(parts, "/")
}
