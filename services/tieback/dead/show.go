package dead

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	connectrpc "connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

func showCommand() *cobra.Command {
	var o command.Output
	cmd := &cobra.Command{
		Use: "show ID [-o json]", Short: "Show a dead letter: its message, its resolutions, the history of its request", Args: oneID,
		Long: `Show a dead letter: the error, the message that the accountant sees in Procore, the failed message (an event
as its payload), the resolutions, the history of the request, and the current state of each run. A
malformed message is shown as a quoted string.
` + codes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.Check(); err != nil {
				return err
			}
			id, err := ids(args)
			if err != nil {
				return err
			}
			return show(cmd, id[0], o)
		},
	}
	o.Flag(cmd)
	return cmd
}

func show(cmd *cobra.Command, id uint64, o command.Output) error {
	c, err := command.Client(cmd, connect.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	d, err := c.GetDeadLetter(cmd.Context(), &operatorv1.GetDeadLetterRequest{Id: id, IncludePayload: true})
	if connectrpc.CodeOf(err) == connectrpc.CodePermissionDenied { // all but what Procore sent
		d, err = c.GetDeadLetter(cmd.Context(), &operatorv1.GetDeadLetterRequest{Id: id})
	}
	if err != nil {
		return command.APIError(cmd, err)
	}
	if err := o.Print(cmd.OutOrStdout(), d, func(w io.Writer) error { return printDetail(w, d) }); err != nil {
		return command.Failed(cmd, err)
	}
	return nil
}

func printDetail(w io.Writer, d *operatorv1.GetDeadLetterResponse) error {
	t, l := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0), d.DeadLetter
	for _, row := range [][2]string{
		{"dead letter", fmt.Sprintf("%d, %s", l.Id, l.State)}, {"when", moment(l.At)}, {"company", fmt.Sprint(l.Request.GetCompanyId())}, {"request", fmt.Sprint(l.Request.GetRequestId())},
		{"type", terminal.Line(l.Request.GetType())}, {"stage", terminal.Line(l.Stage)}, {"cause", l.Cause}, {"class", l.Class},
		{"attempts", fmt.Sprint(l.Attempts)}, {"subject", terminal.Line(l.Subject)}, {"stored", fmt.Sprintf("%s, %d", terminal.Line(d.Stream), d.StreamSequence)},
	} {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	heading(w, "ERROR")
	fmt.Fprintln(w, terminal.Plain(l.Error))
	printReported(w, d)
	heading(w, "MESSAGE")
	fmt.Fprint(w, terminal.Plain(terminal.Or(d.Message, "You may not see it.\n")))
	if !d.Replayable {
		fmt.Fprintf(w, "It can't be replayed unchanged: %s\n", terminal.Plain(d.WhyNot))
	}
	if len(l.Resolutions) > 0 {
		heading(w, "RESOLUTIONS")
	}
	for _, r := range l.Resolutions {
		fmt.Fprintf(w, "  %s\n", terminal.Plain(r.Text))
		printDifference(w, r.Difference)
	}
	heading(w, "HISTORY OF THE REQUEST (UTC)")
	for _, s := range d.History {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", terminal.StampMillis(s.At.AsTime()), terminal.Dash(terminal.Line(s.Run)), s.Kind, terminal.Line(s.Text))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	heading(w, "CURRENT STATE")
	for _, r := range d.Runs {
		name := "first run"
		if r.Run != "" {
			name = "run " + terminal.Line(r.Run)
		}
		fmt.Fprintf(t, "%s\t%s\n", name, terminal.Line(r.Text))
	}
	return t.Flush()
}

// printReported prints the message for the accountant, and whether Procore shows it.
func printReported(w io.Writer, d *operatorv1.GetDeadLetterResponse) {
	text := strings.Join(d.ReportedMessages, "\n")
	switch request.FailureReport(d.Reported) {
	case request.FailureReported:
		heading(w, "SHOWN TO THE ACCOUNTANT")
	case request.FailureReportPending:
		heading(w, "NOT SHOWN TO THE ACCOUNTANT YET")
	default:
		heading(w, "NOT SHOWN TO THE ACCOUNTANT")
		text = "No request detail was closed as failed for this dead letter."
		if d.DeadLetter.UserMessage != "" {
			text += " The message would be: " + d.DeadLetter.UserMessage
		}
	}
	fmt.Fprintln(w, terminal.Plain(terminal.Or(text, "The request detail was closed without a message.")))
}

func moment(t *timestamppb.Timestamp) string { return terminal.StampMillis(t.AsTime()) + " UTC" }

func heading(w io.Writer, text string) {
	fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, terminal.Bold, text))
}
