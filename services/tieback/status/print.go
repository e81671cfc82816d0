package status

import (
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/operator/status"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

func printReport(w io.Writer, r *operatorv1.Overview) error {
	fmt.Fprintf(w, "%s\n\n", terminal.Paint(w, terminal.Bold, "Tieback at "+terminal.Moment(r.At.AsTime())+", rates and results of the last "+r.Window.AsDuration().String()))
	var rows []terminal.Row
	for _, q := range r.Queues {
		rows = append(rows, queueRow(q))
	}
	if err := terminal.Table(w, []string{"STAGE", "WAITING", "IN FLIGHT", "REDELIVERED", "OLDEST", "ARRIVED/MIN", "FINISHED/MIN", ""}, rows); err != nil {
		return err
	}
	if len(r.Companies) > 0 {
		fmt.Fprintln(w)
		rows = nil
		for _, c := range r.Companies {
			rows = append(rows, companyRow(c, r.At.AsTime()))
		}
		if err := terminal.Table(w, []string{"COMPANY", "NAME", "OPEN", "OLDEST", "RETRYING", "SUCCEEDED", "FAILED", "DEAD LETTERS", "QUOTA", "LAST FAILURE"}, rows); err != nil {
			return err
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "\n%s\n", terminal.Wrap(w, "Note: "+terminal.Line(n)+".", 2))
	}
	if len(r.Attention) == 0 {
		fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, terminal.Green, "Nothing needs attention."))
		return nil
	}
	fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, terminal.Bold, "NEEDS ATTENTION"))
	for _, a := range r.Attention {
		fmt.Fprintf(w, "%s\n", terminal.Paint(w, terminal.Red, terminal.Wrap(w, "  "+terminal.Line(status.Line(a)), 4)))
	}
	return nil
}

func queueRow(q *operatorv1.Queue) terminal.Row {
	if !q.Known {
		return terminal.Row{Colour: terminal.Red, Cells: []string{q.Stage, "?", "?", "?", "?", rate(q.ArrivedPerMinute), rate(q.FinishedPerMinute), "the broker did not answer"}}
	}
	colour, remark := "", ""
	idle := q.Waiting > 0 && !q.Consumed
	switch {
	case !q.Created:
		remark = "has never run here"
	case idle:
		remark = "not running"
	}
	if idle {
		colour = terminal.Red
	} else if q.Redelivered > 0 {
		colour = terminal.Yellow
	}
	return terminal.Row{Colour: colour, Cells: []string{
		q.Stage, fmt.Sprint(q.Waiting), fmt.Sprint(q.InFlight), fmt.Sprint(q.Redelivered), age(q.OldestAge), rate(q.ArrivedPerMinute), rate(q.FinishedPerMinute), remark,
	}}
}

func companyRow(c *operatorv1.CompanyState, now time.Time) terminal.Row {
	open, id, colour := fmt.Sprint(c.Open), fmt.Sprint(c.Id), ""
	if c.AtLeast {
		open += "+"
	}
	if c.Id == 0 {
		id = "not known"
	}
	switch {
	case c.DeadLetters > 0:
		colour = terminal.Red
	case c.Retrying > 0 || c.Failed > 0 || c.Quota.GetBlockedUntil() != nil:
		colour = terminal.Yellow
	}
	return terminal.Row{Colour: colour, Cells: []string{
		id, terminal.Dash(terminal.Line(c.Name)), open, age(c.OldestAge), fmt.Sprint(c.Retrying), fmt.Sprint(c.Succeeded), fmt.Sprint(c.Failed), fmt.Sprint(c.DeadLetters),
		quotaCell(c.Quota, now), terminal.Dash(terminal.Line(c.LastFailure)),
	}}
}

func quotaCell(q *operatorv1.Quota, now time.Time) string {
	if q == nil {
		return "-"
	}
	var parts []string
	if w := q.Hour; w != nil {
		text := fmt.Sprintf("%d of %d", w.Remaining, w.Limit)
		if w.Reset_ != nil {
			text += ", reset in " + seconds(w.Reset_.AsTime().Sub(now))
		}
		parts = append(parts, text)
	}
	if w := q.Spike; w != nil {
		parts = append(parts, fmt.Sprintf("%d of %d per 10 s", w.Remaining, w.Limit))
	}
	if q.BlockedUntil != nil {
		parts = append(parts, "blocked for "+seconds(q.BlockedUntil.AsTime().Sub(now)))
	}
	return terminal.Dash(strings.Join(parts, "; "))
}

func age(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	return seconds(d.AsDuration())
}

// seconds formats a duration in whole seconds. A negative duration is 0s.
func seconds(d time.Duration) string { return max(0, d).Round(time.Second).String() }

func rate(perMinute *float64) string {
	if perMinute == nil {
		return "?"
	}
	return fmt.Sprintf("%.0f", *perMinute)
}
