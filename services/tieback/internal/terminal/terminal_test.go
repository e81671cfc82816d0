package terminal

import (
	"encoding/json"
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

// JSON of strangers' text is shown on terminals too, and means the same afterwards.
func TestJSONSteersNoTerminal(t *testing.T) {
	const evil = "a\u009b2J\u202e\U000e0001 Bä <€>"
	var out strings.Builder
	if err := JSON(&out, map[string]string{"x": evil}); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"x\": \"a\\u009b2J\\u202e\\udb40\\udc01 Bä <€>\"\n}\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	var back map[string]string
	if err := json.Unmarshal([]byte(out.String()), &back); err != nil || back["x"] != evil {
		t.Errorf("it means %q, %v", back["x"], err)
	}
}
