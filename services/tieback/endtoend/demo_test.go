package endtoend

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tieback/tieback/services/tieback/demo"
)

// lastLine is the demo's last line, as the README shows it.
var lastLine = regexp.MustCompile(`^ok: (\d+) events, 51 event types, (\d+) closed, 0 lost, 0 doubled, \d+ dead-lettered, \d+ Procore calls$`)

func TestTheDemoEndsWell(t *testing.T) {
	t.Setenv("TIEBACK_DATA", filepath.Join(t.TempDir(), "demo"))
	t.Setenv("TIEBACK_ADMIN_ADDR", "127.0.0.1:0")
	t.Setenv("TIEBACK_INGEST_ADDR", "")
	t.Setenv("TIEBACK_NATS_URL", "")
	var out bytes.Buffer
	ok, err := demo.Run(t.Context(), demo.Options{Seed: 1}, &out)
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	if m := lastLine.FindStringSubmatch(lines[len(lines)-1]); err != nil || !ok || m == nil || m[1] != m[2] {
		t.Errorf("the demo ended with %v, %v:\n%s", ok, err, out.String())
	}
}
