// Package sweep implements `tieback sweep`.
package sweep

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// Command is `tieback sweep`.
func Command() *cobra.Command {
	var company int64
	var output command.Output
	cmd := &cobra.Command{
		Use: "sweep [--company N] [-o json]", Short: "Fetch ERP requests that never arrived", Args: cobra.NoArgs,
		Long: `Read the deliveries that Procore has discarded or is retrying, and the open request details, and publish a delivery
for each ERP request that never arrived. The service sweep does this every TIEBACK_SWEEP_EVERY (5m). The running pipeline
processes the deliveries.

` + command.Where + ` With several companies, it prints a document for each.

Exit code 0: done. 1: it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.Check(); err != nil {
				return err
			}
			if err := command.CheckCompany(company); err != nil {
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
	c, err := command.Client(cmd, connect.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	companies, err := command.Companies(cmd, c, company)
	if err != nil {
		return err
	}
	return command.Each(cmd, companies, func(ctx context.Context, id int64) error {
		result, err := c.Sweep(ctx, &operatorv1.SweepRequest{CompanyId: id})
		if err != nil {
			return err
		}
		return output.Print(cmd.OutOrStdout(), result, func(w io.Writer) error { return printResult(w, result) })
	})
}

func printResult(w io.Writer, r *operatorv1.SweepResponse) error {
	fmt.Fprintf(w, "Company %d: %s.\n", r.CompanyId, found(r.FoundRequestIds))
	if len(r.ClosedRequestDetailIds) > 0 {
		fmt.Fprintf(w, "Request details left open by requests that have ended; they are closed now: %v\n", r.ClosedRequestDetailIds)
	}
	if r.FailingDeliveries > 0 {
		fmt.Fprintf(w, "Procore is retrying %s: check that it can reach ingest.\n", terminal.Count(int(r.FailingDeliveries), "delivery", "deliveries"))
	}
	printSkipped(w, r.Skipped)
	for _, n := range r.Notes {
		fmt.Fprintf(w, "Note: %s.\n", terminal.Line(n))
	}
	_, err := fmt.Fprintf(w, "%s to Procore.\n", terminal.Count(int(r.ProcoreCalls), "call", "calls"))
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

func printSkipped(w io.Writer, skipped []string) {
	if len(skipped) == 0 {
		return
	}
	fmt.Fprintf(w, "%s:\n", terminal.Count(len(skipped), "entry of Procore's lists is not processed", "entries of Procore's lists are not processed"))
	for _, l := range skipped[:min(len(skipped), maxSkipped)] {
		fmt.Fprintf(w, "  %s.\n", terminal.Line(l))
	}
	if n := len(skipped) - maxSkipped; n > 0 {
		fmt.Fprintf(w, "  and %d more; -o json lists all.\n", n)
	}
}
