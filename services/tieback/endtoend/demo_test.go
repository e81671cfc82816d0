package endtoend

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tieback/tieback/services/tieback/demo"
)

// lastLine is the demo's last line.
var lastLine = regexp.MustCompile(`^ok: (\d+) events, 51 event types, (\d+) closed, 0 lost, 0 doubled, \d+ dead-lettered, \d+ Procore calls$`)

func TestTheDemoEndsWell(t *testing.T) {
	t.Setenv("TIEBACK_DATA", filepath.Join(t.TempDir(), "demo"))
	t.Setenv("TIEBACK_ADMIN_ADDR", "127.0.0.1:0")
	t.Setenv("TIEBACK_INGEST_ADDR", "")
	t.Setenv("TIEBACK_NATS_URL", "")
	var out bytes.Buffer
	ok, err := demo.Run(t.Context(), demo.Options{Seed: 1}, &out)
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	last := lines[len(lines)-1]
	if m := lastLine.FindStringSubmatch(last); err != nil || !ok || m == nil || m[1] != m[2] {
		t.Errorf("the demo ended with %v, %v:\n%s", ok, err, out.String())
	}
	// How many calls are made differs from run to run: events that end together share some.
	counted, _, _ := strings.Cut(last, "dead-lettered")
	for _, page := range []string{"README.md", "docs/evidence.md"} {
		text, err := os.ReadFile("../../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "\n"+counted+"dead-lettered") {
			t.Errorf("%s shows another last line than %q", page, last)
		}
	}
}
