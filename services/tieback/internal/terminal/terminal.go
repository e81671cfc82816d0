// Package terminal writes output for people: it escapes text that could control a terminal, and uses colors and
// widths only on a terminal.
package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
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

// Cut shortens a line to width columns; 0: no limit.
func Cut(s string, width int) string {
	if width == 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// JSON writes v as an indented document. It escapes what Plain does.
func JSON(w io.Writer, v any) error { return encode(w, v, "  ") }

// JSONLine writes v as JSON does, in one line.
func JSONLine(w io.Writer, v any) error { return encode(w, v, "") }

func encode(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
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

// Stamp formats a time in the local time zone, to the second. The zero time is a dash.
func Stamp(t time.Time) string { return stamp(t, time.DateTime) }

// StampMillis formats a time in the local time zone, to the millisecond. The zero time is a dash.
func StampMillis(t time.Time) string { return stamp(t, "2006-01-02 15:04:05.000") }

func stamp(t time.Time, layout string) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(layout)
}

// Row is a row of a table.
type Row struct {
	Colour string // of the whole row; "": none
	Cells  []string
}

// Table writes rows with aligned columns, under a bold head. On a terminal, cut shortens the rows to its width. Cells must be
// escaped: see Line.
func Table(w io.Writer, cut bool, head []string, rows []Row) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	rows = append([]Row{{Bold, head}}, rows...)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r.Cells, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	width := 0
	if cut {
		width = Width(w)
	}
	for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		if _, err := fmt.Fprintln(w, Paint(w, rows[i].Colour, Cut(strings.TrimRight(line, " "), width))); err != nil {
			return err
		}
	}
	return nil
}
