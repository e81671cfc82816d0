package dead

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// printLetters prints a table of dead letters and their number by cause.
func printLetters(w io.Writer, letters []request.DeadLetter) error {
	if len(letters) == 0 {
		_, err := fmt.Fprintln(w, "No dead letters.")
		return err
	}
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tWHEN\tCOMPANY\tREQUEST\tTYPE\tSTAGE\tCAUSE\tATTEMPTS\tERROR")
	for _, l := range letters {
		fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%s\t%s\t%s\t%d\t%s\n",
			l.ID, l.At.Local().Format("2006-01-02 15:04:05"), l.CompanyId, l.ErpRequestId, terminal.Line(l.Type), terminal.Line(l.Stage), l.Cause(), l.Attempts, remark(l))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	columns := terminal.Width(w)
	for i, text := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		if _, err := fmt.Fprintln(w, terminal.Paint(w, lineColour(i, letters), terminal.Cut(strings.TrimRight(text, " "), columns))); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, terminal.Bold, summary(letters)))
	return err
}

// lineColour returns the color of the table's i-th line, counting the header.
func lineColour(i int, letters []request.DeadLetter) string {
	switch {
	case i == 0:
		return terminal.Bold
	case letters[i-1].Done():
		return terminal.Dim
	case letters[i-1].State == request.StateInterrupted:
		return terminal.Yellow
	}
	return ""
}

// remark returns the dead letter's latest resolution and its error.
func remark(l request.DeadLetter) string {
	text := terminal.Line(l.Error)
	if l.State == request.StateInterrupted {
		text = "the replay was interrupted, replay it again: " + text
	}
	if n := len(l.Resolutions); n > 0 {
		text = terminal.Line(request.ResolutionText(l.Resolutions[n-1])) + ": " + text
	}
	return text
}

func summary(letters []request.DeadLetter) string {
	count := map[string]int{}
	for _, l := range letters {
		count[l.Cause()]++
	}
	var parts []string
	for _, c := range request.Causes {
		if count[c] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[c], c))
		}
	}
	return fmt.Sprintf("%s: %s.", countText(len(letters)), strings.Join(parts, ", "))
}

func countText(n int) string {
	if n == 1 {
		return "1 dead letter"
	}
	return fmt.Sprintf("%d dead letters", n)
}

func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000") }

// printDifference prints a unified diff.
func printDifference(w io.Writer, difference string) {
	for _, text := range strings.Split(strings.TrimSuffix(difference, "\n"), "\n") {
		colour := map[byte]string{'+': terminal.Green, '-': terminal.Red, '@': terminal.Bold}[(text + " ")[0]]
		fmt.Fprintln(w, terminal.Paint(w, colour, terminal.Plain(text)))
	}
}

// printResolution prints a resolution in a line, and the difference of an edit.
func printResolution(w io.Writer, d *tiebackv1.Resolution) {
	fmt.Fprintf(w, "  %s\n", terminal.Plain(request.ResolutionText(d)))
	if d.Difference != "" {
		printDifference(w, d.Difference)
	}
}
