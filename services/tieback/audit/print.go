package audit

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// print writes a company's report. Without --all it has only the requests that are not accounted for, in progress, or failed.
func (f *flags) print(w io.Writer, r *operatorv1.AuditResponse) error {
	if !f.all {
		r.Findings = slices.DeleteFunc(r.Findings, func(found *operatorv1.AuditFinding) bool {
			return found.AccountedFor && found.Class != string(request.InProgress) && found.Class != string(request.Failed)
		})
	}
	return f.output.Print(w, r, func(w io.Writer) error { return printReport(w, r) })
}

func printReport(w io.Writer, r *operatorv1.AuditResponse) error {
	fmt.Fprintf(w, "Company %d, created from %s until %s: %s.\n", r.CompanyId, terminal.Moment(r.Since.AsTime()), terminal.Moment(r.Until.AsTime()), terminal.Count(int(r.Requests), "ERP request", "ERP requests"))
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, c := range request.Classes {
		if n := r.Counts[string(c)]; n > 0 {
			fmt.Fprintf(t, "%d\t%s\t%s\n", n, c, c.Meaning())
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(w)
		var rows []terminal.Row
		for _, found := range r.Findings {
			rows = append(rows, terminal.Row{Cells: []string{
				fmt.Sprint(found.RequestId), terminal.Line(found.Type), terminal.Line(found.Class), terminal.Stamp(found.Created.AsTime()), terminal.Line(stage(found)), list(found.OpenRequestDetails), terminal.Dash(terminal.Line(found.Why)),
			}})
		}
		if err := terminal.Table(w, []string{"ERP REQUEST", "TYPE", "CLASS", "CLICKED (UTC)", "STAGE", "OPEN DETAILS", "WHY"}, rows); err != nil {
			return err
		}
	}
	if r.Unlisted > 0 {
		fmt.Fprintf(w, "Procore does not list %d of them: it keeps its lists for a limited time. Their classes are by the pipeline's streams alone.\n", r.Unlisted)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "Note: %s.\n", terminal.Line(n))
	}
	for _, l := range r.Losses {
		fmt.Fprintf(w, "LOST: %s: %s.\n", terminal.Line(l), bus.LossAction)
	}
	_, err := fmt.Fprintf(w, "%s (%s to Procore)\n", verdict(r), terminal.Count(int(r.ProcoreCalls), "call", "calls"))
	return err
}

func verdict(r *operatorv1.AuditResponse) string {
	if r.AccountedFor {
		return "All requests are accounted for."
	}
	n := 0
	for c, count := range r.Counts {
		if request.Class(c).NeedsAction() {
			n += int(count)
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
func stage(f *operatorv1.AuditFinding) string {
	if f.Stage == "" {
		return "-"
	}
	return fmt.Sprintf("%s, %s, attempt %d", f.Stage, f.Age.AsDuration().Round(time.Second), f.Attempts)
}

func list(ids []int64) string {
	if len(ids) == 0 {
		return "-"
	}
	return fmt.Sprint(ids)
}
