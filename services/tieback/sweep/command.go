// Package sweep implements `tieback sweep`: it runs one sweep of package services/sweep and prints its result.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/sweep"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// Command is `tieback sweep`. It needs the same settings as `tieback run`.
func Command() *cobra.Command {
	var company int64
	var output command.Output
	cmd := &cobra.Command{
		Use: "sweep [--company N] [-o json]", Short: "Fetch ERP requests that never arrived", Args: cobra.NoArgs,
		Long: `Read the deliveries that Procore has discarded or is retrying, and the open request details, and publish a delivery
for each ERP request that never arrived. The service sweep does this every TIEBACK_SWEEP_EVERY (5m). The running pipeline
processes the deliveries. With the embedded broker (no TIEBACK_NATS_URL) stop tieback run first; it processes them
when it starts again.

Exit code 0: done. 1: it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.Check(); err != nil {
				return err
			}
			return run(cmd, company, output)
		},
	}
	cmd.Flags().Int64Var(&company, "company", 0, "the company's id in Procore; without it all companies")
	output.Flag(cmd)
	return cmd
}

func run(cmd *cobra.Command, company int64, output command.Output) error {
	p, err := tenant.Load("sweep", os.Getenv, tenant.AllCompanies)
	if err != nil {
		return err
	}
	companies, err := command.Companies(p, company)
	if err != nil {
		return err
	}
	b, err := command.Open(cmd, p)
	if err != nil {
		return err
	}
	defer b.Close()
	s, err := sweep.New(sweep.Deps{Bus: b.Bus, Companies: b.Companies, Procore: b.Procore, Log: b.Log, Backoff: b.Backoff, Every: b.Settings.SweepEvery}, b.Registry)
	if err != nil {
		return command.Failed(cmd, err)
	}
	return command.Each(cmd, companies, func(ctx context.Context, id int64) error {
		result, err := s.Sweep(ctx, id)
		return errors.Join(err, output.Print(cmd.OutOrStdout(), result, func(w io.Writer) error { return printResult(w, result) }))
	})
}

func printResult(w io.Writer, r sweep.Result) error {
	fmt.Fprintf(w, "Company %d: %s.\n", r.Company, found(r.Found))
	if len(r.Closed) > 0 {
		fmt.Fprintf(w, "Request details left open by requests that have ended; they are closed now: %v\n", r.Closed)
	}
	if r.Failing > 0 {
		fmt.Fprintf(w, "Procore is retrying %s: check that it can reach ingest.\n", terminal.Count(r.Failing, "delivery", "deliveries"))
	}
	printSkipped(w, r.Skipped)
	for _, n := range r.Notes {
		fmt.Fprintf(w, "Note: %s.\n", terminal.Line(n))
	}
	_, err := fmt.Fprintf(w, "%s to Procore.\n", terminal.Count(r.Calls, "call", "calls"))
	return err
}

func found(requests []int64) string {
	if len(requests) == 0 {
		return "every ERP request has arrived"
	}
	return fmt.Sprintf("%s never arrived; published now: %v", terminal.Count(len(requests), "ERP request", "ERP requests"), requests)
}

// maxSkipped is the largest number of skipped requests that are printed.
const maxSkipped = 20

func printSkipped(w io.Writer, skipped []sweep.Skipped) {
	if len(skipped) == 0 {
		return
	}
	fmt.Fprintf(w, "%s:\n", terminal.Count(len(skipped), "entry of Procore's lists is not processed", "entries of Procore's lists are not processed"))
	for _, l := range skipped[:min(len(skipped), maxSkipped)] {
		request := "without an id"
		if l.Request != 0 {
			request = fmt.Sprint(l.Request)
		}
		fmt.Fprintf(w, "  ERP request %s: %s.\n", request, terminal.Line(l.Why))
	}
	if n := len(skipped) - maxSkipped; n > 0 {
		fmt.Fprintf(w, "  and %d more; -o json lists all.\n", n)
	}
}
