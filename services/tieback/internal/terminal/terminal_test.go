package terminal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// screen returns a terminal of a width.
func screen(width int) (buffered, *bytes.Buffer) {
	b := &bytes.Buffer{}
	return buffered{b, width}, b
}

// Nothing is cut: on a narrow terminal the rows become cards, on a wide one the last column continues on the next line.
func TestTableOnTerminals(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	head := []string{"ID", "NAME", "ERROR"}
	rows := []Row{{Cells: []string{"1", "Bär", strings.Repeat("connection refused ", 8) + "end"}}, {Cells: []string{"22", "-", "no"}}}
	for _, c := range []struct {
		width int
		lines []string
	}{
		{0, []string{"ID  NAME  ERROR", "1   Bär   " + rows[0].Cells[2], "22  -     no"}},
		{120, []string{"ID  NAME  ERROR", "1   Bär   " + strings.TrimSpace(strings.Repeat("connection refused ", 5)) + " connection", "          refused connection refused connection refused end", "22  -     no"}},
		{40, []string{"ID     1", "NAME   Bär", "ERROR  connection refused connection", "       refused connection refused", "       connection refused connection", "       refused connection refused", "       connection refused connection", "       refused end", "", "ID     22", "ERROR  no"}},
	} {
		w, b := screen(c.width)
		if err := Table(w, head, rows); err != nil || b.String() != strings.Join(c.lines, "\n")+"\n" {
			t.Errorf("%d columns: %v\n%s\nwant\n%s", c.width, err, b, strings.Join(c.lines, "\n"))
		}
	}
	w, b := screen(40)
	if err := Table(w, head, rows[1:]); err != nil || !strings.HasPrefix(b.String(), "ID  NAME") {
		t.Errorf("a table that fits: %v\n%s", err, b)
	}
	w, b = screen(40)
	long := strings.Repeat("ä", 100)
	if err := Table(w, head, []Row{{Cells: []string{"1", "-", long}}}); err != nil || strings.Count(b.String(), "ä") != 100 {
		t.Errorf("a word longer than the terminal: %v\n%s", err, b)
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
