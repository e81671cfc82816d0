package screen

import (
	"strings"
	"testing"
)

// Long errors are cut where the terminal ends, by characters and not by bytes.
func TestALineIsCutToTheTerminal(t *testing.T) {
	for _, c := range []struct {
		width int
		want  string
	}{{0, "Bärenstärke"}, {11, "Bärenstärke"}, {5, "Bäre…"}} {
		if got := Cut("Bärenstärke", c.width); got != c.want {
			t.Errorf("%d columns: %q, want %q", c.width, got, c.want)
		}
	}
}

func TestStrangersTextSteersNoTerminal(t *testing.T) {
	if got := Line("a\x1b[2J\n b\u202e"); got != `a\u001b[2J b\u202e` {
		t.Errorf("%q", got)
	}
}

func TestColoursAreForTerminalsOnly(t *testing.T) {
	if got := Paint(&strings.Builder{}, Red, "x"); got != "x" {
		t.Errorf("%q", got)
	}
}
