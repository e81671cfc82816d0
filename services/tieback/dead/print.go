package dead

import (
	"fmt"
	"io"
	"strings"

	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/console/operator/dead"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// printLetters prints a table of dead letters and their number by cause.
func printLetters(w io.Writer, letters dead.Letters) error {
	if letters.Total == 0 {
		_, err := fmt.Fprintln(w, "No dead letters.")
		return err
	}
	var rows []terminal.Row
	for _, l := range letters.DeadLetters {
		rows = append(rows, letterRow(l))
	}
	if err := terminal.Table(w, true, []string{"ID", "WHEN", "COMPANY", "REQUEST", "TYPE", "STAGE", "CAUSE", "ATTEMPTS", "ERROR"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, terminal.Bold, summary(letters)))
	return err
}

func letterRow(l dead.Letter) terminal.Row {
	text, colour := terminal.Line(l.Error), ""
	switch l.State {
	case request.StateReplayed, request.StateDiscarded:
		colour = terminal.Dim
	case request.StateInterrupted:
		colour, text = terminal.Yellow, "the replay was interrupted, replay it again: "+text
	}
	if n := len(l.Resolutions); n > 0 {
		text = terminal.Line(l.Resolutions[n-1].Text) + ": " + text
	}
	return terminal.Row{Colour: colour, Cells: []string{
		fmt.Sprint(l.ID), terminal.Stamp(l.At), fmt.Sprint(l.Company), fmt.Sprint(l.Request), terminal.Line(l.Type), terminal.Line(l.Stage), l.Cause, fmt.Sprint(l.Attempts), text,
	}}
}

func summary(letters dead.Letters) string {
	var parts []string
	for _, c := range request.Causes {
		if n := letters.Causes[c]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c))
		}
	}
	return fmt.Sprintf("%s: %s.", countLetters(letters.Total), strings.Join(parts, ", "))
}

func countLetters(n int) string { return terminal.Count(n, "dead letter", "dead letters") }

// printDifference prints a unified diff.
func printDifference(w io.Writer, difference string) {
	if difference == "" {
		return
	}
	for _, text := range strings.Split(strings.TrimSuffix(difference, "\n"), "\n") {
		colour := map[byte]string{'+': terminal.Green, '-': terminal.Red, '@': terminal.Bold}[(text + " ")[0]]
		fmt.Fprintln(w, terminal.Paint(w, colour, terminal.Plain(text)))
	}
}
