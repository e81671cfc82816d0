package dead

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// printLetters prints a table of dead letters, the newest last, and their number by cause.
func printLetters(w io.Writer, letters *operatorv1.ListDeadLettersResponse) error {
	if letters.Total == 0 {
		_, err := fmt.Fprintln(w, "No dead letters.")
		return err
	}
	var rows []terminal.Row
	for _, l := range slices.Backward(letters.DeadLetters) {
		rows = append(rows, letterRow(l))
	}
	if err := terminal.Table(w, []string{"ID", "WHEN (UTC)", "COMPANY", "REQUEST", "TYPE", "STAGE", "CAUSE", "ATTEMPTS", "ERROR"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, terminal.Bold, summary(letters)))
	return err
}

func letterRow(l *operatorv1.DeadLetter) terminal.Row {
	text, colour := terminal.Line(l.Error), ""
	switch request.State(l.State) {
	case request.StateReplayed, request.StateDiscarded:
		colour = terminal.Dim
	case request.StateInterrupted:
		colour, text = terminal.Yellow, "the replay was interrupted, replay it again: "+text
	}
	if n := len(l.Resolutions); n > 0 {
		text = terminal.Line(l.Resolutions[n-1].Text) + ": " + text
	}
	of := l.Request
	return terminal.Row{Colour: colour, Cells: []string{
		fmt.Sprint(l.Id), terminal.Stamp(l.At.AsTime()), fmt.Sprint(of.CompanyId), fmt.Sprint(of.RequestId), terminal.Line(of.Type), terminal.Line(l.Stage), l.Cause, fmt.Sprint(l.Attempts), text,
	}}
}

func summary(letters *operatorv1.ListDeadLettersResponse) string {
	var parts []string
	for _, c := range letters.Causes {
		parts = append(parts, fmt.Sprintf("%d %s", c.Count, c.Cause))
	}
	return fmt.Sprintf("%s: %s.", countLetters(int(letters.Total)), strings.Join(parts, ", ")) //nolint:gosec // a count
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
