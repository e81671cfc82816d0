package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/console/operator/trace"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// printTrace prints a trace for people.
func printTrace(w io.Writer, s trace.Trace) error {
	fmt.Fprintf(w, "%s\n", terminal.Paint(w, terminal.Bold, head(s)))
	if err := printSteps(w, s.Steps); err != nil {
		return err
	}
	if s.Current != nil {
		fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, terminal.Bold, "NOW"))
		printCurrent(w, s.Current)
	}
	if s.Procore != nil {
		fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, terminal.Bold, "IN PROCORE"))
		printProcore(w, s.Procore)
	}
	for _, u := range s.Unread {
		fmt.Fprintf(w, "\nCould not read %s\n", terminal.Line(u))
	}
	colour := terminal.Green
	if !s.Accounted {
		colour = terminal.Red
	}
	_, err := fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, colour, terminal.Line(upper(s.Verdict))+"."))
	return err
}

func head(s trace.Trace) string {
	text := fmt.Sprintf("ERP request %d of company %d", s.Request, s.Company)
	if s.Type != "_" {
		text += fmt.Sprintf(": %s (%s)", terminal.Line(s.Type), s.Category)
	}
	if s.Clicked != nil {
		text += ", clicked at " + terminal.Stamp(*s.Clicked)
	}
	return text
}

// printSteps prints a row for each step, and its close-outs and marks below.
func printSteps(w io.Writer, steps []trace.Step) error {
	if len(steps) == 0 {
		return nil
	}
	var rows []terminal.Row
	for _, s := range steps {
		rows = append(rows, terminal.Row{Cells: []string{terminal.StampMillis(s.At), took(s), terminal.Dash(terminal.Line(s.Run)), terminal.Dash(terminal.Line(s.By)), stepText(s)}})
		for _, line := range stepLines(s) {
			text := strings.TrimLeft(line, " ")
			rows = append(rows, terminal.Row{Cells: []string{"", "", "", "", "  " + line[:len(line)-len(text)] + terminal.Line(text)}})
		}
	}
	fmt.Fprintln(w)
	if err := terminal.Table(w, false, []string{"WHEN", "TOOK", "RUN", "BY", "WHAT"}, rows); err != nil {
		return err
	}
	return printPayloads(w, steps)
}

func took(s trace.Step) string {
	if s.Took == nil {
		return "-"
	}
	if s.Since == "click" {
		return request.TookFromClick(time.Duration(*s.Took * float64(time.Second)))
	}
	return trace.Took(time.Duration(*s.Took * float64(time.Second)))
}

// handed describes whether the broker has delivered a message.
var handed = map[request.DeliveryState]string{
	request.Queued: "not delivered to a process yet", request.Delivered: "delivered to a process", request.NoConsumer: "which has never run on this broker",
	request.Settled: "which has acknowledged it without a result", request.NotRead: "not known whether delivered",
}

func printCurrent(w io.Writer, p *trace.Current) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(t, "  %s\t%s\n", name, value) }
	row("stage", p.Stage+", "+handed[p.Handed])
	if p.Run != "" {
		row("run", terminal.Line(p.Run))
	}
	row("since", terminal.StampMillis(p.Since))
	if p.Attempts != nil {
		row("attempts", fmt.Sprintf("%d, the last at %s", *p.Attempts, terminal.StampMillis(*p.LastAttempt)))
	}
	if f := p.Failure; f != nil {
		row("last failure", fmt.Sprintf("%s, %s: %s", f.Class, terminal.Or(f.Source, "ours"), terminal.Line(f.Error)))
	}
	if p.Next != nil {
		row("next attempt", "at about "+terminal.StampMillis(*p.Next))
	}
	if p.Deadline != nil {
		row("deadline", terminal.StampMillis(*p.Deadline))
	}
	_ = t.Flush() // a write error shows again with the verdict
}

func printProcore(w io.Writer, a *trace.ProcoreState) {
	if !a.Known {
		fmt.Fprintf(w, "  Procore does not have the request\n")
		return
	}
	created := "; no creation time"
	if a.Created != nil {
		created = ", clicked at " + terminal.Stamp(*a.Created)
	}
	fmt.Fprintf(w, "  %s%s\n", terminal.Line(terminal.Or(a.Type, "a request without a name")), created)
	for _, d := range a.Details {
		fmt.Fprintf(w, "  request detail %d: %s\n", d.ID, terminal.Line(terminal.Or(d.Status, "not in its list")))
	}
	if a.Calls == 1 {
		fmt.Fprintf(w, "  (1 call)\n")
		return
	}
	fmt.Fprintf(w, "  (%d calls)\n", a.Calls)
}

// printPayloads prints the payloads and edits, which the steps have only with --payload.
func printPayloads(w io.Writer, steps []trace.Step) error {
	for _, s := range steps {
		if s.Event != nil && s.Event.Payload != nil {
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, s.Event.Payload, "", "  "); err != nil {
				return err
			}
			fmt.Fprintf(w, "\n%s\n%s\n", terminal.Paint(w, terminal.Bold, "PAYLOAD, "+terminal.StampMillis(s.At)), terminal.Plain(pretty.String()))
		}
		if s.Resolution != nil && s.Resolution.Difference != "" {
			fmt.Fprintf(w, "\n%s\n%s", terminal.Paint(w, terminal.Bold, "EDITED, "+terminal.StampMillis(s.At)), terminal.Plain(s.Resolution.Difference))
		}
	}
	return nil
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
