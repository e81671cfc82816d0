// Package status implements `tieback status`.
package status

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/operator/status"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// flags are the command's flags.
type flags struct {
	watch    bool
	interval time.Duration
	window   time.Duration
	company  int64
	output   command.Output
}

// Command is `tieback status`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "status [--company N] [-w [--interval 2s]] [--window 5m] [-o json]", Short: "Show queue and company health, and what needs attention", Args: cobra.NoArgs,
		Long: `Show queue and company health, and what needs attention. Nothing is changed, and Procore is not called.

Per stage:
  WAITING      messages not yet delivered to a process
  IN FLIGHT    messages being processed, prefetched, or waiting for another attempt
  REDELIVERED  of those, delivered more than once
  OLDEST       age of the oldest unfinished message, since its stream stored it
  ARRIVED, FINISHED  messages per minute, counted over the window
Per company:
  OPEN         unfinished messages at all stages; a + if not all were counted
  OLDEST       age of the oldest of them
  RETRYING     of those, with a failed attempt
  SUCCEEDED, FAILED  events closed within the window
  DEAD LETTERS unresolved ones
  QUOTA        calls left of Procore's hourly and ten-second limits, as a service saw them a few seconds ago

A report costs some dozens of requests to the broker, and reads a bounded number of messages without their bodies. It
says where it is incomplete for this reason, and lists what the broker did not answer. With -w it is repeated until
the command is stopped: the screen is redrawn; without a terminal each report is a block, and with -o json a line.

` + command.Where + `

Exit code 0: nothing needs attention. 1: something does (such as dead letters, a stage that is not running, a message
past its deadline, or a broker that does not answer), or the command failed. With -w, that of the last report.
2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "repeat the report until stopped")
	cmd.Flags().DurationVar(&f.interval, "interval", 2*time.Second, "with -w: time between reports")
	cmd.Flags().Int64Var(&f.company, "company", 0, "show only this company and its problems, by its id in Procore; queues count all companies")
	cmd.Flags().DurationVar(&f.window, "window", status.Window, "time over which rates and results are counted, at most 24h")
	f.output.Flag(cmd)
	return cmd
}

func (f *flags) check(cmd *cobra.Command) error {
	if err := errors.Join(f.output.Check(), command.CheckCompany(f.company)); err != nil {
		return err
	}
	switch {
	case cmd.Flags().Changed("interval") && !f.watch:
		return errors.New("--interval is the time between the reports of -w: give -w too")
	case f.interval < time.Second:
		return fmt.Errorf("--interval %v: must be at least 1s", f.interval)
	case f.window < time.Second || f.window > 24*time.Hour:
		return fmt.Errorf("--window %v: must be from 1s to 24h", f.window)
	}
	return nil
}

func (f *flags) run(cmd *cobra.Command) error {
	c, err := command.Client(cmd, connect.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer c.Close()
	var companies []int64
	if f.company != 0 {
		companies = []int64{f.company}
	}
	window := durationpb.New(f.window)
	if !f.watch {
		r, err := c.GetOverview(cmd.Context(), &operatorv1.GetOverviewRequest{CompanyIds: companies, Window: window})
		if err != nil {
			return command.APIError(cmd, err)
		}
		return f.report(cmd, r.Overview)
	}
	reports, err := c.WatchOverview(cmd.Context(), &operatorv1.WatchOverviewRequest{CompanyIds: companies, Window: window, Every: durationpb.New(f.interval)})
	if err != nil {
		return command.APIError(cmd, err)
	}
	defer reports.Close()
	var last error
	for reports.Receive() {
		if last = f.report(cmd, reports.Msg().Overview); last != nil && !errors.Is(last, command.ErrFailed) {
			return last
		}
	}
	if err := reports.Err(); err != nil && cmd.Context().Err() == nil {
		return command.APIError(cmd, err)
	}
	return last
}

// report prints a report. It returns ErrFailed if something needs attention.
func (f *flags) report(cmd *cobra.Command, r *operatorv1.Overview) error {
	if err := f.print(cmd.OutOrStdout(), r); err != nil {
		return command.Failed(cmd, err)
	}
	if len(r.Attention) > 0 {
		return command.ErrFailed
	}
	return nil
}

// print writes a report in one piece, so that a terminal does not flicker.
func (f *flags) print(w io.Writer, r *operatorv1.Overview) error {
	var b bytes.Buffer
	var err error
	switch onScreen := f.watch && terminal.Width(w) > 0; {
	case f.output.JSON() && f.watch:
		err = terminal.JSONLine(&b, r)
	case f.output.JSON():
		err = terminal.JSON(&b, r)
	case onScreen:
		b.WriteString("\x1b[H\x1b[2J") // home, and clear
		err = printReport(terminal.Buffered(w, &b), r)
	default:
		err = printReport(terminal.Buffered(w, &b), r)
		if f.watch {
			b.WriteByte('\n')
		}
	}
	if err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}
