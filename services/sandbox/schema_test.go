package sandbox

import (
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/procore/schema"
)

// The sandbox serves what Procore publishes and the rows of unpublished.json, and every row is served:
// one that is not is needed by nobody.
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
			t.Errorf("unpublished.json has %s, which the sandbox does not serve: delete the row, or serve it", row)
		}
	}
}

// blank takes the names of placeholders away.
func blank(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = "{}"
		}
	}
	return strings.Join(parts, "/")
}
