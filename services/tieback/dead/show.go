package dead

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

func showCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "show ID [-o json]", Short: "Show a dead letter: its message, its resolutions, the history of its request", Args: oneID,
		Long: `Show a dead letter: the error, the message that the accountant sees in Procore, the failed message (an event
as its payload), the resolutions, the history of the request, and the current state of each run. A
malformed message is shown as a quoted string.
` + codes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			id, err := ids(args)
			if err != nil {
				return err
			}
			return show(cmd, id[0], o)
		},
	}
	o.flag(cmd)
	return cmd
}

// shown is the output of `tieback dead show`.
type shown struct {
	letter  request.DeadLetter
	text    string
	why     error // why the message can't be replayed unchanged; nil if it can
	history []request.Step
	runs    []request.RunState
}

func show(cmd *cobra.Command, id uint64, o output) error {
	p, err := open(cmd, "")
	if err != nil {
		return err
	}
	defer p.Close()
	var s shown
	if s.letter, err = request.ReadDeadLetter(cmd.Context(), p.Bus, id); err != nil {
		return failed(cmd, err)
	}
	s.text, s.why = p.Text(cmd.Context(), s.letter)
	messages, unread := request.Messages(cmd.Context(), p.Bus, s.letter.CompanyId, s.letter.ErpRequestId)
	if err := errors.Join(slices.Collect(maps.Values(unread))...); err != nil {
		return failed(cmd, err)
	}
	s.history, s.runs = request.Steps(messages), request.Of(s.letter.ErpRequestId, messages, 0).RunStates()
	if o == "json" {
		err = terminal.JSON(cmd.OutOrStdout(), s.doc())
	} else {
		err = s.print(cmd.OutOrStdout())
	}
	if err != nil {
		return failed(cmd, err)
	}
	return nil
}

func (s *shown) print(w io.Writer) error {
	l := s.letter
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, row := range [][2]string{
		{"dead letter", fmt.Sprintf("%d, %s", l.ID, l.State)}, {"when", stamp(l.At)}, {"company", fmt.Sprint(l.CompanyId)}, {"request", fmt.Sprint(l.ErpRequestId)},
		{"type", terminal.Line(l.Type)}, {"stage", terminal.Line(l.Stage)}, {"cause", l.Cause()}, {"class", request.ClassName(l.Class)},
		{"attempts", fmt.Sprint(l.Attempts)}, {"subject", terminal.Line(l.Subject)}, {"stored", fmt.Sprintf("%s, %d", terminal.Line(l.Stream), l.StreamSequence)},
	} {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	part(w, "ERROR")
	fmt.Fprintln(w, terminal.Plain(l.Error))
	s.printReport(w)
	part(w, "MESSAGE")
	fmt.Fprint(w, terminal.Plain(s.text))
	if s.why != nil {
		fmt.Fprintf(w, "It can't be replayed unchanged: %s\n", terminal.Plain(s.why.Error()))
	}
	if len(l.Resolutions) > 0 {
		part(w, "RESOLUTIONS")
		for _, d := range l.Resolutions {
			printResolution(w, d)
		}
	}
	return s.printHistory(w)
}

// printReport prints the message for the accountant, and whether Procore shows it.
func (s *shown) printReport(w io.Writer) {
	reported, messages := request.ShownOf(s.letter, s.history)
	text := strings.Join(messages, "\n")
	switch reported {
	case request.ShownYes:
		part(w, "SHOWN TO THE ACCOUNTANT")
	case request.ShownPending:
		part(w, "NOT SHOWN TO THE ACCOUNTANT YET")
	default:
		part(w, "NOT SHOWN TO THE ACCOUNTANT")
		text = "No request detail was closed as failed for this dead letter."
		if s.letter.UserMessage != "" {
			text += " The message would be: " + s.letter.UserMessage
		}
	}
	fmt.Fprintln(w, terminal.Plain(or(text, "The request detail was closed without a message.")))
}

func (s *shown) printHistory(w io.Writer) error {
	part(w, "HISTORY OF THE REQUEST")
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, st := range s.history {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", stamp(st.At), or(terminal.Line(st.Run), "-"), st.Kind, terminal.Line(st.Text()))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	part(w, "CURRENT STATE")
	for _, st := range s.runs {
		fmt.Fprintf(t, "%s\t%s\n", runName(st.Run), terminal.Line(st.Text))
	}
	return t.Flush()
}

func runName(run string) string {
	if run == "" {
		return "first run"
	}
	return "run " + terminal.Line(run)
}

func part(w io.Writer, head string) { fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, terminal.Bold, head)) }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
