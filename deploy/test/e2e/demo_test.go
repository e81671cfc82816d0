package endtoend

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tieback/tieback/services/tieback/demo"
)

// lastLine matches the last line of the demo.
var lastLine = regexp.MustCompile(`^ok: (\d+) events, 51 event types, (\d+) closed, 0 lost, 0 doubled, \d+ dead-lettered, \d+ Procore calls$`)

// keptDemo ends a demo after it has printed that it keeps serving.
type keptDemo struct {
	bytes.Buffer
	stop context.CancelFunc
}

func (k *keptDemo) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("Still serving")) {
		k.stop()
	}
	return k.Buffer.Write(p)
}

// The demo succeeds, and README.md shows its last line.
func TestDemoEndsWithLineOfREADME(t *testing.T) {
	t.Setenv("TIEBACK_DATA", filepath.Join(t.TempDir(), "demo"))
	t.Setenv("TIEBACK_ADMIN_ADDR", "127.0.0.1:0")
	t.Setenv("TIEBACK_INGEST_ADDR", "")
	t.Setenv("TIEBACK_NATS_URL", "")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := keptDemo{stop: stop}
	ok, err := demo.Run(ctx, demo.Options{Seed: 1, Keep: true}, &out)
	played, kept, _ := strings.Cut(out.String(), "\nStill serving")
	lines := strings.Split(strings.TrimRight(played, "\n"), "\n")
	last := lines[len(lines)-1]
	if m := lastLine.FindStringSubmatch(last); err != nil || !ok || m == nil || m[1] != m[2] || !strings.Contains(kept, "/press/create_vendor") {
		t.Errorf("the demo: %v, %v:\n%s", ok, err, out.String())
	}
	// The number of calls differs between runs, because close-outs share calls.
	counted, _, _ := strings.Cut(last, "dead-lettered")
	for _, page := range []string{"README.md", "docs/evidence.md"} {
		text, err := os.ReadFile("../../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "\n"+counted+"dead-lettered") {
			t.Errorf("%s does not show the last line %q", page, last)
		}
	}
}
