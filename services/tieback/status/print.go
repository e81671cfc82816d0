package status

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

type writer = io.Writer

// page is a look as it is written for people.
type page struct {
	out   *bytes.Buffer
	width int // 0: no terminal
	paint func(colour, s string) string
}

func (p page) print(r Report) {
	fmt.Fprintf(p.out, "%s\n\n", p.paint(terminal.Bold, "Tieback at "+stamp(r.At)))
	rows := [][]string{{"STOP", "WAITING", "OUT", "AGAIN", "OLDEST", "IN/MIN", "DONE/MIN", ""}}
	colours := []string{terminal.Bold}
	for _, q := range r.Queues {
		rows = append(rows, queueRow(q))
		colours = append(colours, queueColour(q))
	}
	p.table(rows, colours)
	if len(r.Companies) > 0 {
		rows, colours = [][]string{{"COMPANY", "NAME", "OPEN", "OLDEST", "RETRYING", "OK", "FAILED", "DEAD", "QUOTA", "LAST FAILURE"}}, []string{terminal.Bold}
		for _, c := range r.Companies {
			rows = append(rows, companyRow(c, r.At))
			colours = append(colours, companyColour(c))
		}
		p.out.WriteByte('\n')
		p.table(rows, colours)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(p.out, "\nNote: %s.\n", terminal.Line(n))
	}
	p.needs(r.Needs)
}

func (p page) needs(needs []string) {
	if len(needs) == 0 {
		fmt.Fprintf(p.out, "\n%s\n", p.paint(terminal.Green, "Nothing needs a person."))
		return
	}
	fmt.Fprintf(p.out, "\n%s\n", p.paint(terminal.Bold, "NEEDS A PERSON"))
	for _, n := range needs {
		fmt.Fprintf(p.out, "%s\n", p.paint(terminal.Red, "  "+terminal.Line(n)))
	}
}

// table writes rows under their heads, each in its colour and no wider than the terminal.
func (p page) table(rows [][]string, colours []string) {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	_ = t.Flush() // to memory
	for i, text := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		fmt.Fprintln(p.out, p.paint(colours[i], terminal.Cut(strings.TrimRight(text, " "), p.width)))
	}
}

func queueRow(q Queue) []string {
	if !q.Known {
		return []string{q.Stop, "?", "?", "?", "?", rate(q.In), rate(q.Finished), "the broker does not answer for it"}
	}
	remark := ""
	switch {
	case !q.Made:
		remark = "has never run here"
	case q.Waiting > 0 && !q.Taken:
		remark = "nobody takes its work"
	}
	return []string{q.Stop, fmt.Sprint(q.Waiting), fmt.Sprint(q.Out), fmt.Sprint(q.Again), age(q.Oldest), rate(q.In), rate(q.Finished), remark}
}

func queueColour(q Queue) string {
	switch {
	case !q.Known, q.Waiting > 0 && !q.Taken:
		return terminal.Red
	case q.Again > 0:
		return terminal.Yellow
	}
	return ""
}

func companyRow(c Company, now time.Time) []string {
	open := fmt.Sprint(c.Unfinished)
	if c.AtLeast {
		open += "+"
	}
	id := fmt.Sprint(c.ID)
	if c.ID == 0 {
		id = "not known"
	}
	return []string{
		id, dash(terminal.Line(c.Name)), open, age(c.Oldest), fmt.Sprint(c.Retrying), fmt.Sprint(c.Succeeded), fmt.Sprint(c.Failed), fmt.Sprint(c.Dead),
		quotaCell(c.Quota, now), dash(terminal.Line(c.LastFailure)),
	}
}

func companyColour(c Company) string {
	switch {
	case c.Dead > 0:
		return terminal.Red
	case c.Retrying > 0 || c.Failed > 0 || c.Quota != nil && c.Quota.Blocked != nil:
		return terminal.Yellow
	}
	return ""
}

func quotaCell(q *Quota, now time.Time) string {
	if q == nil {
		return "-"
	}
	var parts []string
	if w := q.Hour; w != nil {
		text := fmt.Sprintf("%d of %d", w.Left, w.Limit)
		if w.Reset != nil {
			text += ", new in " + words(w.Reset.Sub(now))
		}
		parts = append(parts, text)
	}
	if w := q.Spike; w != nil {
		parts = append(parts, fmt.Sprintf("%d of %d in 10 s", w.Left, w.Limit))
	}
	if q.Blocked != nil {
		parts = append(parts, "held back for "+words(q.Blocked.Sub(now)))
	}
	return dash(strings.Join(parts, "; "))
}

func age(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return words(time.Duration(*seconds * float64(time.Second)))
}

// words is a duration in whole seconds.
func words(d time.Duration) string { return max(0, d).Round(time.Second).String() }

func rate(perMinute *float64) string {
	if perMinute == nil {
		return "?"
	}
	return fmt.Sprintf("%.0f", *perMinute)
}

func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
