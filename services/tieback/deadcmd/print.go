package deadcmd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/deadletters"
)

// plain makes text of strangers fit for a terminal: what is not printable, and could steer it,
// becomes an escape.
func plain(s string) string {
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

// line is plain in one line.
func line(s string) string { return strings.Join(strings.Fields(plain(s)), " ") }

// width is how many columns a terminal has; 0: w is none.
func width(w io.Writer) int {
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

const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

// coloured says whether w is a terminal that wants colours.
func coloured(w io.Writer) bool { return width(w) > 0 && os.Getenv("NO_COLOR") == "" }

// paint colours s, where w shows colours.
func paint(w io.Writer, colour, s string) string {
	if colour == "" || !coloured(w) {
		return s
	}
	return colour + s + reset
}

// cut shortens a line to a terminal's width; 0: it stays.
func cut(s string, width int) string {
	if width == 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// printLetters writes a table, then a line that sums it up by cause.
func printLetters(w io.Writer, letters []deadletters.Letter) error {
	if len(letters) == 0 {
		_, err := fmt.Fprintln(w, "No dead letters.")
		return err
	}
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tWHEN\tCOMPANY\tREQUEST\tTYPE\tSTOP\tCAUSE\tATTEMPTS\tERROR")
	for _, l := range letters {
		fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%s\t%s\t%s\t%d\t%s\n",
			l.ID, l.At.Local().Format("2006-01-02 15:04:05"), l.CompanyId, l.ErpRequestId, line(l.Type), line(l.Stop), l.Cause(), l.Attempts, remark(l))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	columns := width(w)
	for i, text := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		if _, err := fmt.Fprintln(w, paint(w, lineColour(i, letters), cut(strings.TrimRight(text, " "), columns))); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", paint(w, bold, summary(letters)))
	return err
}

// lineColour of the table's i-th line, the head first.
func lineColour(i int, letters []deadletters.Letter) string {
	switch {
	case i == 0:
		return bold
	case letters[i-1].Done():
		return dim
	case letters[i-1].State == deadletters.CutOff:
		return yellow
	}
	return ""
}

// remark is the letter's error, after what was done with it.
func remark(l deadletters.Letter) string {
	text := line(l.Error)
	if l.State == deadletters.CutOff {
		text = "replay was cut off, replay it again: " + text
	}
	if n := len(l.Dealings); n > 0 {
		text = line(deadletters.Told(l.Dealings[n-1])) + ": " + text
	}
	return text
}

func summary(letters []deadletters.Letter) string {
	count := map[string]int{}
	for _, l := range letters {
		count[l.Cause()]++
	}
	var parts []string
	for _, c := range deadletters.Causes {
		if count[c] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[c], c))
		}
	}
	return fmt.Sprintf("%s: %s.", letterCount(len(letters)), strings.Join(parts, ", "))
}

func letterCount(n int) string {
	if n == 1 {
		return "1 letter"
	}
	return fmt.Sprintf("%d letters", n)
}

func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000") }

// printDifference writes a unified diff, in colours where there are any.
func printDifference(w io.Writer, difference string) {
	for _, text := range strings.Split(strings.TrimSuffix(difference, "\n"), "\n") {
		colour := map[byte]string{'+': green, '-': red, '@': bold}[(text + " ")[0]]
		fmt.Fprintln(w, paint(w, colour, plain(text)))
	}
}

// printDealing writes a line for what was done.
func printDealing(w io.Writer, d *tiebackv1.Dealing) {
	fmt.Fprintf(w, "  %s\n", plain(deadletters.Told(d)))
	if d.Difference != "" {
		printDifference(w, d.Difference)
	}
}
