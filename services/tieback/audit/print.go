package audit

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/console/operator/audit"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// print writes a company's report. Without --all it has only the requests that are not accounted for, in progress, or failed.
func (f *flags) print(w io.Writer, r audit.Report) error {
	if !f.all {
		r.Findings = slices.DeleteFunc(slices.Clone(r.Findings), func(found audit.Finding) bool {
			return !found.Class.NeedsAction() && found.Class != request.InProgress && found.Class != request.Failed
		})
	}
	return f.output.Print(w, r, func(w io.Writer) error { return printReport(w, r) })
}

func printReport(w io.Writer, r audit.Report) error {
	fmt.Fprintf(w, "Company %d, clicked from %s until %s: %s.\n", r.Company, utc(r.Since), utc(r.Until), terminal.Count(r.Requests, "ERP request", "ERP requests"))
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, c := range request.Classes {
		if r.Counts[c] > 0 {
			fmt.Fprintf(t, "%d\t%s\t%s\n", r.Counts[c], c, c.Meaning())
		}
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(t, "\nERP REQUEST\tTYPE\tCLASS\tCLICKED\tSTAGE\tOPEN DETAILS\tWHY")
	}
	for _, found := range r.Findings {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", found.Request, terminal.Line(found.Type), found.Class, utc(found.Clicked), terminal.Line(stage(found)), list(found.Open), terminal.Dash(terminal.Line(found.Why)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.Unlisted > 0 {
		fmt.Fprintf(w, "Procore does not list %d of them: it keeps its lists for a limited time. Their classes are by the pipeline's streams alone.\n", r.Unlisted)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "Note: %s.\n", terminal.Line(n))
	}
	for _, l := range r.Losses {
		fmt.Fprintf(w, "LOST: %s: %s.\n", terminal.Line(l.String()), bus.LossAction)
	}
	_, err := fmt.Fprintf(w, "%s (%s to Procore)\n", verdict(r), terminal.Count(r.Calls, "call", "calls"))
	return err
}

func verdict(r audit.Report) string {
	if r.Accounted {
		return "All requests are accounted for."
	}
	n := 0
	for c, count := range r.Counts {
		if c.NeedsAction() {
			n += count
		}
	}
	switch {
	case n > 0:
		return terminal.Count(n, "request is", "requests are") + " NOT accounted for."
	case len(r.Losses) > 0:
		return "The audit is INCOMPLETE: the streams have lost messages, so it can't account for their requests."
	}
	return "The audit is INCOMPLETE: some entries of Procore's lists can't be read, or name no ERP request; see the notes."
}

// stage describes the current stage of a request.
func stage(f audit.Finding) string {
	if f.Stage == "" {
		return "-"
	}
	return fmt.Sprintf("%s, %s, attempt %d", f.Stage, f.Age, f.Attempts)
}

func list(ids []int64) string {
	if len(ids) == 0 {
		return "-"
	}
	return fmt.Sprint(ids)
}

func utc(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
