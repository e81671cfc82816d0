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
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// Plain makes text of strangers fit for a terminal: what is not printable, and could steer it,
// becomes an escape.
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

// Line is Plain in one line.
func Line(s string) string { return strings.Join(strings.Fields(Plain(s)), " ") }

// Width is how many columns a terminal has; 0: w is none.
func Width(w io.Writer) int {
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

// The colours, for Paint.
const (
	Bold   = "\x1b[1m"
	Dim    = "\x1b[2m"
	Red    = "\x1b[31m"
	Green  = "\x1b[32m"
	Yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

// Coloured says whether w is a terminal that wants colours.
func Coloured(w io.Writer) bool { return Width(w) > 0 && os.Getenv("NO_COLOR") == "" }

// Paint colours s, where w shows colours.
func Paint(w io.Writer, colour, s string) string {
	if colour == "" || !Coloured(w) {
		return s
	}
	return colour + s + reset
}

// Cut shortens a line to a terminal's width; 0: it stays.
func Cut(s string, width int) string {
	if width == 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// JSON writes one document, which steers no terminal either.
func JSON(w io.Writer, v any) error { return encode(w, v, "  ") }

// JSONLine is JSON in one line.
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

// escaped escapes what the encoder leaves as it is: all beyond ASCII is within a string.
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
