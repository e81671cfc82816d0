// Package trace implements `tieback trace`: it prints the timelines of package operator/trace.
package trace

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/console/operator/trace"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/run"
)

// flags are the command's flags.
type flags struct {
	company int64
	payload bool
	ask     bool
	output  command.Output
	request int64
}

// Command is `tieback trace`. It needs the same settings as `tieback run`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "trace REQUEST [--company N] [--payload] [--ask-procore] [-o json]", Short: "Show the timeline of one ERP request", Args: oneID,
		Long: `Show the timeline of one ERP request, by its id in Procore: the click, the delivery, the result and duration
of each stage, the close-outs and marks in Procore, dead letters and their resolutions, all replays, and, if the
request has not ended, its current stage: since when, how many attempts, the last failure, the next attempt, and the
deadline. The last line is the verdict.

Without --company the request is looked up in all companies. Nothing is changed. Procore is called only with
--ask-procore: once for the request, and several times for the list of its request details. If Procore's rate limit is
exceeded, the command waits up to a minute. TOOK is the time since the previous step, by the broker's clock. From the click it is
approximate, as Procore gives whole seconds of its own clock. Attempts are stored only until a message is
processed; a dead letter records their number.

What Procore sent, and what a person edited in it, may contain personal data. It is shown only with --payload.

The command may run while the pipeline runs. With the embedded broker (no TIEBACK_NATS_URL) stop tieback
run first.

Exit code 0: it was closed, or is in progress in time. 1: it needs action (never arrived, late, dead-lettered
and not reported, closed here and open in Procore), not all could be read, or it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	cmd.Flags().Int64Var(&f.company, "company", 0, "the company's id in Procore; without it the request is looked up in all")
	cmd.Flags().BoolVar(&f.payload, "payload", false, "show what Procore sent; it may contain personal data")
	cmd.Flags().BoolVar(&f.ask, "ask-procore", false, "read from Procore too: whether it has the request, and the status of its request details")
	f.output.Flag(cmd)
	return cmd
}

// oneID accepts one argument, the id of an ERP request.
func oneID(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return errors.New("give the id of an ERP request in Procore: tieback trace 1001")
	case len(args) > 1:
		return fmt.Errorf("%d ids were given: trace one ERP request at a time, as in tieback trace 1001", len(args))
	}
	return nil
}

func (f *flags) check(request string) error {
	id, err := strconv.ParseInt(request, 10, 64)
	switch {
	case err != nil || id <= 0:
		return fmt.Errorf("%q is not the id of an ERP request: give a positive number", request)
	}
	f.request = id
	return errors.Join(command.CheckCompany(f.company), f.output.Check())
}

func (f *flags) run(cmd *cobra.Command) error {
	p, err := tenant.Load("trace", os.Getenv, tenant.ValidCompanies)
	if err != nil {
		return err
	}
	b, err := command.Open(cmd, p)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := f.find(cmd, b); err != nil {
		return err
	}
	o := trace.Options{
		Company: f.company, Request: f.request, Payload: f.payload, Backoff: p.Backoff,
		Rules: request.Rules{Deadlines: request.Deadlines{Interactive: p.Settings.Deadline, Sync: p.Settings.SyncDeadline}, Company: p.Companies[f.company]},
	}
	if f.ask {
		if o.Procore, err = p.Procore.Company(f.company); err != nil {
			return p.NotServed(f.company)
		}
		o.Waiting = command.Waiting(cmd)
	}
	tr, err := trace.Read(cmd.Context(), b.Bus, o)
	if err != nil {
		return command.Failed(cmd, err)
	}
	if _, ours := p.Companies[f.company]; !ours && len(tr.Steps) == 0 && len(tr.Unread) == 0 {
		return p.NotServed(f.company) // the streams may still have requests of a former company
	}
	return f.print(cmd, tr)
}

func (f *flags) print(cmd *cobra.Command, tr trace.Trace) error {
	if err := f.output.Print(cmd.OutOrStdout(), tr, func(w io.Writer) error { return printTrace(w, tr) }); err != nil {
		return command.Failed(cmd, err)
	}
	if !tr.Accounted {
		return command.ErrFailed
	}
	return nil
}

// find sets the request's company if the flag is not given.
func (f *flags) find(cmd *cobra.Command, b *run.Pipeline) error {
	if f.company != 0 {
		return nil
	}
	known := slices.Sorted(maps.Keys(b.Companies))
	have, err := request.Companies(cmd.Context(), b.Bus, f.request, known)
	switch {
	case err != nil && have == nil:
		return command.Failed(cmd, err)
	case len(have) == 1:
		f.company = have[0]
	case len(have) > 1:
		return fmt.Errorf("request %d is of companies %s: choose one with --company", f.request, list(have))
	case len(known) == 1:
		f.company = known[0] // it never arrived; this is the only company
	default:
		return command.Failed(cmd, fmt.Errorf("request %d never arrived here for any company, or is older than the streams' retention: "+
			"if it was clicked lately, run tieback sweep; --company N --ask-procore shows whether Procore has it (companies: %s)", f.request, list(known)))
	}
	return nil
}

func list(ids []int64) string {
	var parts []string
	for _, id := range ids {
		parts = append(parts, strconv.FormatInt(id, 10))
	}
	return strings.Join(parts, ", ")
}
