package audit

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/sweep"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// meanings are the classes in words.
var meanings = map[request.Class]string{
	request.Success:   "closed as success",
	request.Failed:    "closed as failed, with the reason",
	request.Dead:      "dead-lettered, and closed as failed where there is a request detail",
	request.Recovered: "dead-lettered, and done since",
	request.Discarded: "dead-lettered, and discarded by a person with a reason",
	request.Working:   "at work, within its deadline",
	request.Elsewhere: "closed in Procore, and not by this pipeline as far as its streams reach",
	request.Older:     "older than the company's since: not ours, and not worked",
	request.CalledOff: "called off in Procore (rejected or stale), and not booked",
	request.Unknown:   "of a status in Procore that this version does not know, and not worked",
	request.Overdue:   "at work, past its deadline",
	request.Unclosed:  "dead-lettered, and not closed in Procore",
	request.Mismatch:  "closed by the pipeline, and open in Procore",
	request.Missed:    "never arrived",
	request.Lost:      "dead-lettered, and the dead letter is lost",
}

// words is the table of classes, for the help.
func words() string {
	var b strings.Builder
	for _, c := range request.Classes {
		mark := " "
		if !c.Accounted() {
			mark = "!"
		}
		fmt.Fprintf(&b, "%s %-10s %s\n", mark, c, meanings[c])
	}
	return b.String() + "\n! is not accounted for.\n"
}

// printReport writes a company's report: for people what the numbers are and what needs a look,
// or JSON, one object a company. Shown are what is not accounted for, what is at work and what failed; all shows the rest.
func printReport(w io.Writer, output string, r Report, all bool) error {
	var shown []Finding
	for _, f := range r.Findings {
		if all || !f.Class.Accounted() || f.Class == request.Working || f.Class == request.Failed {
			shown = append(shown, f)
		}
	}
	if r.Findings = append([]Finding{}, shown...); output == "json" {
		return terminal.JSON(w, r)
	}
	fmt.Fprintf(w, "Company %d, clicked from %s until %s: %s.\n", r.Company, stamp(r.Since), stamp(r.Until), count(r.Requests, "ERP request", "ERP requests"))
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, c := range request.Classes {
		if r.Counts[c] > 0 {
			fmt.Fprintf(t, "%d\t%s\t%s\n", r.Counts[c], c, meanings[c])
		}
	}
	if len(shown) > 0 {
		fmt.Fprintln(t, "\nERP REQUEST\tTYPE\tCLASS\tCLICKED\tAT\tOPEN DETAILS\tWHY")
	}
	for _, f := range shown {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Request, terminal.Line(f.Type), f.Class, stamp(f.Clicked), terminal.Line(place(f)), dash(fmt.Sprint(f.Open)), dash(terminal.Line(f.Why)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.Unlisted > 0 {
		fmt.Fprintf(w, "%d of them Procore does not list, as its lists are kept for some time only; they are judged by the pipeline's streams.\n", r.Unlisted)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "Note: %s.\n", terminal.Line(n))
	}
	for _, l := range r.Losses {
		fmt.Fprintf(w, "LOST: %s: %s.\n", terminal.Line(l.String()), bus.AfterLoss)
	}
	_, err := fmt.Fprintf(w, "%s (%s to Procore)\n", verdict(r), count(r.Calls, "call", "calls"))
	return err
}

func verdict(r Report) string {
	if r.Accounted {
		return "All are accounted for."
	}
	n := 0
	for c, count := range r.Counts {
		if !c.Accounted() {
			n += count
		}
	}
	if n == 0 && len(r.Losses) > 0 {
		return "This proves NOTHING: what the streams have lost can't be accounted for."
	}
	if n == 0 {
		return "This proves NOTHING: some of what Procore says can't be read, or names no ERP request; see the notes."
	}
	return count(n, "is", "are") + " NOT accounted for."
}

// place is where a request is at work.
func place(f Finding) string {
	if f.Stage == "" {
		return "-"
	}
	return fmt.Sprintf("%s, %s, attempt %d", f.Stage, f.Age, f.Attempts)
}

// printSweep writes what a sweep found.
func printSweep(w io.Writer, output string, r sweep.Result) error {
	if output == "json" {
		return terminal.JSON(w, r)
	}
	fmt.Fprintf(w, "Company %d: %s brought in now: %s\n", r.Company, count(len(r.Found), "ERP request had never reached us and is", "ERP requests had never reached us and are"), dash(fmt.Sprint(r.Found)))
	if len(r.Closed) > 0 {
		fmt.Fprintf(w, "%s being closed: %v\n", count(len(r.Closed), "request detail that nothing else would have closed is", "request details that nothing else would have closed are"), r.Closed)
	}
	if r.Failing > 0 {
		fmt.Fprintf(w, "%s now: see that Procore reaches ingest.\n", count(r.Failing, "delivery fails", "deliveries fail"))
	}
	printLeft(w, r.Left)
	for _, n := range r.Notes {
		fmt.Fprintf(w, "Note: %s.\n", terminal.Line(n))
	}
	_, err := fmt.Fprintf(w, "%s to Procore.\n", count(r.Calls, "call", "calls"))
	return err
}

// mostLeft is how many of the requests that are left alone are named in the table.
const mostLeft = 20

func printLeft(w io.Writer, left []sweep.Left) {
	if len(left) == 0 {
		return
	}
	fmt.Fprintf(w, "%s left alone:\n", count(len(left), "entry of Procore's lists is", "entries of Procore's lists are"))
	for _, l := range left[:min(len(left), mostLeft)] {
		fmt.Fprintf(w, "  ERP request %s: %s.\n", named(l.Request), terminal.Line(l.Why))
	}
	if n := len(left) - mostLeft; n > 0 {
		fmt.Fprintf(w, "  and %d more; -o json has them all.\n", n)
	}
}

// named is a request; Procore may not say which it is.
func named(request int64) string {
	if request == 0 {
		return "that is not named"
	}
	return fmt.Sprint(request)
}

// count is a number and what it counts, in words for one and for more.
func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func dash(s string) string {
	if s == "" || s == "[]" {
		return "-"
	}
	return s
}
