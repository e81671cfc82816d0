// Package terminal writes output for people: it escapes text that could control a terminal, uses colours and widths only on
// a terminal, and writes times in UTC.
package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Plain escapes the characters of s that are not printable, and so could control a terminal. It keeps newlines and tabs.
func Plain(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// Line is Plain in one line, with single spaces.
func Line(s string) string { return strings.Join(strings.Fields(Plain(s)), " ") }

// Width returns the number of columns of the terminal w, or 0 if w is not a terminal.
func Width(w io.Writer) int {
	if b, ok := w.(buffered); ok {
		return b.width
	}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) { //nolint:gosec // a file descriptor fits
		return 0
	}
	n, _, err := term.GetSize(int(f.Fd())) //nolint:gosec // likewise
	if err != nil || n < 40 {
		return 80
	}
	return n
}

// buffered is a buffer for a terminal.
type buffered struct {
	*bytes.Buffer
	width int
}

// Buffered returns a writer to b that has the width and colours of w.
func Buffered(w io.Writer, b *bytes.Buffer) io.Writer { return buffered{b, Width(w)} }

// Colours for Paint.
const (
	Bold   = "\x1b[1m"
	Dim    = "\x1b[2m"
	Red    = "\x1b[31m"
	Green  = "\x1b[32m"
	Yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

// Coloured reports whether w is a terminal, and NO_COLOR is not set.
func Coloured(w io.Writer) bool { return Width(w) > 0 && os.Getenv("NO_COLOR") == "" }

// Paint returns s in a colour, or as it is if w shows no colours.
func Paint(w io.Writer, colour, s string) string {
	if colour == "" || !Coloured(w) {
		return s
	}
	return colour + s + reset
}

// JSON writes v as an indented document; a message of protobuf has the JSON of protojson. It escapes what Plain does.
func JSON(w io.Writer, v any) error { return encode(w, v, "  ") }

// JSONLine writes v as JSON does, in one line.
func JSONLine(w io.Writer, v any) error { return encode(w, v, "") }

func encode(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
	if m, is := v.(proto.Message); is {
		raw, err := protojson.Marshal(m)
		if err != nil {
			return err
		}
		var flat bytes.Buffer // protojson varies its white space
		if err := json.Compact(&flat, raw); err != nil {
			return err
		}
		v = json.RawMessage(flat.Bytes())
	}
	enc := json.NewEncoder(&b)
	enc.SetIndent("", indent)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, escaped(b.String()))
	return err
}

// escaped escapes characters that are not printable, which the encoder leaves in strings.
func escaped(doc string) string {
	var b strings.Builder
	for _, r := range doc {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// Or returns s, or otherwise if s is empty.
func Or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Dash returns s, or a dash if s is empty.
func Dash(s string) string { return Or(s, "-") }

// Count returns a number and what it counts, in words for one and for several.
func Count(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

// Stamp formats a time in UTC, to the second, for the cells of a column whose head names UTC. The zero time is a dash.
func Stamp(t time.Time) string { return stamp(t, time.DateTime) }

// StampMillis is Stamp to the millisecond.
func StampMillis(t time.Time) string { return stamp(t, "2006-01-02 15:04:05.000") }

func stamp(t time.Time, layout string) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(layout)
}

// Moment formats a time in UTC, to the second, with the name of the zone.
func Moment(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }

// Row is a row of a table.
type Row struct {
	Colour string // of the whole row; "": none
	Cells  []string
}

// narrow is the width below which a terminal shows cards in place of a table that does not fit.
const narrow = 120

// Table writes rows with aligned columns under a bold head. If they are wider than the terminal, nothing is cut: on a narrow
// terminal each row is written as a card, with a line for each cell that is not a dash; on a wide one the cells of the widest
// columns continue on the next line. Cells must be escaped: see Line.
func Table(w io.Writer, head []string, rows []Row) error {
	rows = append([]Row{{Bold, head}}, rows...)
	columns := make([]int, len(head)) // their widths
	for _, r := range rows {
		for i, cell := range r.Cells {
			columns[i] = max(columns[i], utf8.RuneCountInString(cell))
		}
	}
	if width := Width(w); width > 0 && total(columns) > width {
		if width < narrow || !shrink(columns, width, rows) {
			return cards(w, width, head, rows[1:])
		}
	}
	var b strings.Builder
	for _, r := range rows {
		for _, line := range lines(r.Cells, columns) {
			fmt.Fprintln(&b, Paint(w, r.Colour, line))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// gap is the number of spaces between two columns.
const gap = 2

// total returns the width of a table.
func total(columns []int) int {
	n := gap * (len(columns) - 1)
	for _, c := range columns {
		n += c
	}
	return n
}

// The last column, which has a sentence, gets narrower first, and then the widest of the others, as long as their words fit. If that is
// not enough, words are broken.
const (
	lastColumn = 30
	anyColumn  = 8
)

// shrink makes columns narrower until the table has a width. It reports whether that is possible.
func shrink(columns []int, width int, rows []Row) bool {
	last := len(columns) - 1
	longest := make([]int, len(columns)) // words
	for _, r := range rows {
		for i, cell := range r.Cells {
			for word := range strings.FieldsSeq(cell) {
				longest[i] = max(longest[i], utf8.RuneCountInString(word))
			}
		}
	}
	longest[last] = lastColumn
	columns[last] = max(min(columns[last], lastColumn), columns[last]-max(0, total(columns)-width))
	for _, least := range [][]int{longest, slices.Repeat([]int{anyColumn}, len(columns))} {
		for total(columns) > width {
			widest := -1
			for i, c := range columns {
				if c > least[i] && (widest < 0 || c > columns[widest]) {
					widest = i
				}
			}
			if widest < 0 {
				break
			}
			columns[widest]--
		}
	}
	return total(columns) <= width
}

// lines returns the lines of a row.
func lines(cells []string, columns []int) (all []string) {
	parts := make([][]string, len(cells))
	height := 1
	for i, cell := range cells {
		parts[i] = strings.Split(wrap(cell, columns[i], 0), "\n")
		height = max(height, len(parts[i]))
	}
	for n := range height {
		var b strings.Builder
		for i := range cells {
			part := ""
			if n < len(parts[i]) {
				part = parts[i][n]
			}
			b.WriteString(part + strings.Repeat(" ", columns[i]-utf8.RuneCountInString(part)+gap))
		}
		all = append(all, strings.TrimRight(b.String(), " "))
	}
	return all
}

// cards writes each row as a block of lines with the names of its columns.
func cards(w io.Writer, width int, head []string, rows []Row) error {
	names := 0
	for _, h := range head {
		names = max(names, utf8.RuneCountInString(h))
	}
	var b strings.Builder
	for i, r := range rows {
		if i > 0 {
			b.WriteByte('\n')
		}
		for j, cell := range r.Cells {
			if cell = strings.TrimSpace(cell); cell == "" || cell == "-" {
				continue
			}
			line := wrap(fmt.Sprintf("%-*s  %s", names, head[j], cell), width, names+2)
			if j == 0 && r.Colour == "" {
				r.Colour = Bold
			}
			fmt.Fprintln(&b, Paint(w, r.Colour, line))
			if r.Colour == Bold {
				r.Colour = ""
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap breaks a line at spaces, or within longer words, so that no part is wider than width. The parts after the first are
// indented.
func wrap(line string, width, indent int) string {
	var b strings.Builder
	text := []rune(line)
	for from := 0; len(text) > width; from = indent {
		cut := width
		for i := width; i > max(from, width/2); i-- {
			if text[i] == ' ' {
				cut = i
				break
			}
		}
		b.WriteString(strings.TrimRight(string(text[:cut]), " ") + "\n")
		rest := []rune(strings.TrimLeft(string(text[cut:]), " "))
		text = append([]rune(strings.Repeat(" ", indent)), rest...)
	}
	b.WriteString(string(text))
	return b.String()
}

// Wrap breaks the lines of a text for the terminal w, if it is one. Continued lines are indented.
func Wrap(w io.Writer, text string, indent int) string {
	width := Width(w)
	if width == 0 {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = wrap(l, width, indent)
	}
	return strings.Join(lines, "\n")
}
