package terminal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
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

// From 120 columns on, a table is as wide as the terminal at most, even if columns before the last are wide. Nothing is cut.
func TestWideTable(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	head := []string{"REQUEST", "COMPANY", "CREATED (UTC)", "TYPE", "STATE", "RECORD", "REASON"}
	rows := []Row{{Cells: []string{
		"598134325850001", "Acme Builders of the Northern Territories", "2026-11-30 07:39:10", "create_commitment_contract_change_order_package", "attention",
		`commitment "` + strings.Repeat("Concrete and steel for the eastern tower, ", 3) + `"`, strings.Repeat("The ERP has refused the vendor. ", 9) + "end",
	}}, {Cells: []string{"7", "-", "-", "-", "open", strings.Repeat("x", 300), "-"}}}
	for width := 120; width < 500; width += 19 {
		w, b := screen(width)
		if err := Table(w, head, rows); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("a line of %d characters on a terminal of %d columns: %s", n, width, line)
			}
		}
		for _, word := range []string{"x", "refused", "Concrete"} {
			want := strings.Count(strings.Join(append(rows[0].Cells, rows[1].Cells...), " "), word)
			if got := strings.Count(b.String(), word); got != want || !strings.HasPrefix(b.String(), "REQUEST  ") {
				t.Errorf("%d columns: %q is there %d times, want %d\n%s", width, word, got, want, b)
			}
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
