// Package links implements `tieback links`: it lists and rebuilds the links of package operator/links.
package links

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/services/console/operator/links"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/run"
)

// Command is `tieback links`. It needs the same settings as `tieback run`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "links", Short: "List the links between Procore's records and the ERP's, and rebuild them from Procore",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return errors.New("links: name a command: list or rebuild") },
	}
	cmd.AddCommand(rebuildCommand(), listCommand())
	return cmd
}

// flags are the flags of both commands.
type flags struct {
	company int64
	output  command.Output
}

func (f *flags) add(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&f.company, "company", 0, "the company's id in Procore (required)")
	f.output.Flag(cmd)
}

// open checks usage and settings, then connects. Only a failure to connect is ErrFailed.
func (f *flags) open(cmd *cobra.Command) (*run.Pipeline, error) {
	if f.company <= 0 {
		return nil, errors.New("--company is missing: give the company's id in Procore, a positive number")
	}
	if err := f.output.Check(); err != nil {
		return nil, err
	}
	p, err := tenant.Load("links", os.Getenv, tenant.AllCompanies)
	if err != nil {
		return nil, err
	}
	if p.Companies[f.company] == nil {
		return nil, p.NotServed(f.company)
	}
	return command.Open(cmd, p)
}

func rebuildCommand() *cobra.Command {
	var f flags
	var o links.Options
	cmd := &cobra.Command{
		Use: "rebuild --company N [--force] [--dry-run] [-o json]", Short: "Read the links from Procore", Args: cobra.NoArgs,
		Long: `Read all lists of the company's records in Procore, and store a link for each record with an origin id that has none.
A stored link that differs from Procore's is listed, and changed only with --force.

The command may run while the pipeline runs: a link that an ERP request changes meanwhile is newer and stays. It leaves
half of Procore's rate limit to the pipeline. With the embedded broker (no TIEBACK_NATS_URL) stop tieback run first.

Exit code 0: done. 1: it failed, or a list could not be read. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.rebuild(cmd, o) },
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&o.Force, "force", false, "also change links that differ from Procore's, and end links of records without an origin id")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "change nothing, and print what would be changed")
	return cmd
}

func (f *flags) rebuild(cmd *cobra.Command, o links.Options) error {
	b, err := f.open(cmd)
	if err != nil {
		return err
	}
	defer b.Close()
	o.Company = b.Companies[f.company]
	session, err := b.Procore.Company(f.company)
	if err != nil {
		return err
	}
	session = session.Retrying(links.Retry(command.Waiting(cmd)))
	report, err := links.Rebuild(cmd.Context(), session, state.Of(b.Bus), o)
	if err != nil {
		return command.Failed(cmd, fmt.Errorf("the rebuild of company %d is incomplete, run it again: %w", f.company, err))
	}
	if err := f.output.Print(cmd.OutOrStdout(), report, func(w io.Writer) error { return printReport(w, report) }); err != nil {
		return command.Failed(cmd, err)
	}
	if n := len(report.Unread); n > 0 {
		return command.Failed(cmd, fmt.Errorf("%d lists could not be read, so links may be missing", n))
	}
	return nil
}

func listCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "list --company N [ITEM_TYPE]", Short: "List the stored links", Args: cobra.MaximumNArgs(1),
		Long: `List the stored links of a company, all or those of one item type.

Exit code 0: done. 1: it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := f.open(cmd)
			if err != nil {
				return err
			}
			defer b.Close()
			all, err := links.List(cmd.Context(), state.Of(b.Bus), f.company, args...)
			if err == nil {
				err = f.output.Print(cmd.OutOrStdout(), all, func(w io.Writer) error { return printLinks(w, all) })
			}
			if err != nil {
				return command.Failed(cmd, err)
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}
