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
	"text/tabwriter"
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

// Table writes rows with aligned columns under a bold head. If they are wider than the terminal, nothing is cut: the last
// column continues on the next line, and on a narrow terminal each row is written as a card, with a line for each cell that
// is not a dash. Cells must be escaped: see Line.
func Table(w io.Writer, head []string, rows []Row) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	rows = append([]Row{{Bold, head}}, rows...)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r.Cells, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	width := Width(w)
	fits := width == 0 || !slices.ContainsFunc(lines, func(l string) bool { return utf8.RuneCountInString(strings.TrimRight(l, " ")) > width })
	if !fits && width < narrow {
		return cards(w, width, head, rows[1:])
	}
	last := 0 // where the last column begins
	if !fits {
		last = utf8.RuneCountInString(lines[0]) - utf8.RuneCountInString(head[len(head)-1])
	}
	for i, line := range lines {
		line = strings.TrimRight(line, " ")
		if !fits && last < width {
			line = wrap(line, width, last)
		}
		if _, err := fmt.Fprintln(w, Paint(w, rows[i].Colour, line)); err != nil {
			return err
		}
	}
	return nil
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
