package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/operator/trace"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// printTrace prints a trace for people.
func printTrace(w io.Writer, s *operatorv1.Timeline) error {
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
	if !s.AccountedFor {
		colour = terminal.Red
	}
	_, err := fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, colour, terminal.Wrap(w, terminal.Line(upper(s.Verdict))+".", 0)))
	for _, hint := range hints(s) {
		_, err = fmt.Fprintf(w, "  %s\n", hint)
	}
	return err
}

// hints returns the commands that help with the verdict.
func hints(t *operatorv1.Timeline) (all []string) {
	r := t.Request
	if r.DeadLetter != 0 {
		all = append(all, fmt.Sprintf("tieback dead show %d", r.DeadLetter))
	}
	switch request.Class(r.Class) {
	case request.Missed:
		all = append(all, fmt.Sprintf("tieback sweep --company %d", r.CompanyId))
	case request.Mismatch:
		all = append(all, "tieback audit --help explains what is open in Procore")
	}
	return all
}

func head(t *operatorv1.Timeline) string {
	r := t.Request
	text := fmt.Sprintf("ERP request %d of company %d", r.RequestId, r.CompanyId)
	if r.Type != "_" {
		text += fmt.Sprintf(": %s (%s)", terminal.Line(r.Type), r.Category)
	}
	if r.Created != nil {
		text += ", created at " + terminal.Moment(r.Created.AsTime())
	}
	return text
}

// printSteps prints a row for each step, and its close-outs and marks below.
func printSteps(w io.Writer, steps []*operatorv1.Step) error {
	if len(steps) == 0 {
		return nil
	}
	var rows []terminal.Row
	for _, s := range steps {
		rows = append(rows, terminal.Row{Cells: []string{terminal.StampMillis(s.At.AsTime()), took(s), terminal.Dash(terminal.Line(s.Run)), terminal.Dash(terminal.Line(s.By)), stepText(s)}})
		for _, line := range stepLines(s) {
			text := strings.TrimLeft(line, " ")
			rows = append(rows, terminal.Row{Cells: []string{"", "", "", "", "  " + line[:len(line)-len(text)] + terminal.Line(text)}})
		}
	}
	fmt.Fprintln(w)
	if err := terminal.Table(w, []string{"WHEN (UTC)", "TOOK", "RUN", "BY", "WHAT"}, rows); err != nil {
		return err
	}
	return printPayloads(w, steps)
}

func took(s *operatorv1.Step) string {
	if s.Took == nil {
		return "-"
	}
	if s.Since == "created" {
		return request.TookFromClick(s.Took.AsDuration())
	}
	return trace.Took(s.Took.AsDuration())
}

// handed describes whether the broker has delivered a message.
var handed = map[request.DeliveryState]string{
	request.Queued: "not delivered to a process yet", request.Delivered: "delivered to a process", request.NoConsumer: "which has never run on this broker",
	request.Settled: "which has acknowledged it without a result", request.NotRead: "not known whether delivered",
}

func printCurrent(w io.Writer, p *operatorv1.Current) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(t, "  %s\t%s\n", name, value) }
	row("stage", p.Stage+", "+handed[request.DeliveryState(p.DeliveryState)])
	if p.Run != "" {
		row("run", terminal.Line(p.Run))
	}
	row("since", moment(p.Since))
	if p.Attempts > 0 {
		row("attempts", fmt.Sprintf("%d, the last at %s", p.Attempts, moment(p.LastAttempt)))
	}
	if f := p.Failure; f != nil {
		row("last failure", fmt.Sprintf("%s, %s: %s", f.Class, terminal.Or(f.Source, "tieback"), terminal.Line(f.Error)))
	}
	if p.NextAttempt != nil {
		row("next attempt", "at about "+moment(p.NextAttempt))
	}
	if p.Due != nil {
		row("deadline", moment(p.Due))
	}
	_ = t.Flush() // a write error shows again with the verdict
}

func printProcore(w io.Writer, a *operatorv1.ProcoreState) {
	if !a.Known {
		fmt.Fprintf(w, "  Procore does not have the request\n")
		return
	}
	created := "; no creation time"
	if a.Created != nil {
		created = ", created at " + terminal.Moment(a.Created.AsTime())
	}
	fmt.Fprintf(w, "  %s%s\n", terminal.Line(terminal.Or(a.Type, "a request without a name")), created)
	for _, d := range a.Details {
		fmt.Fprintf(w, "  request detail %d: %s\n", d.Id, terminal.Line(terminal.Or(d.Status, "not in its list")))
	}
	fmt.Fprintf(w, "  (%s)\n", terminal.Count(int(a.ProcoreCalls), "call", "calls"))
}

func moment(t *timestamppb.Timestamp) string { return terminal.StampMillis(t.AsTime()) + " UTC" }

// printPayloads prints the payloads and edits, which the steps have only with --payload.
func printPayloads(w io.Writer, steps []*operatorv1.Step) error {
	for _, s := range steps {
		if payload := s.GetEvent().GetPayload(); payload != "" {
			var pretty bytes.Buffer
			if json.Indent(&pretty, []byte(payload), "", "  ") != nil { // it is not JSON
				pretty.Reset()
				pretty.WriteString(payload)
			}
			fmt.Fprintf(w, "\n%s\n%s\n", terminal.Paint(w, terminal.Bold, "PAYLOAD, "+moment(s.At)), terminal.Plain(pretty.String()))
		}
		if d := s.GetResolution().GetDifference(); d != "" {
			fmt.Fprintf(w, "\n%s\n%s", terminal.Paint(w, terminal.Bold, "EDITED, "+moment(s.At)), terminal.Plain(d))
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
