package links

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/services/tieback/run"
)

// ErrFailed is exit code 1: what went wrong, or is not whole, has been told already. Any
// other error of the command is a mistake in its usage or settings, exit code 2, and not told yet.
var ErrFailed = errors.New("failed; the reason was told")

// Command is `tieback links`. It needs the same settings as `tieback run`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "links", Short: "List the links between Procore's records and the ERP's, and rebuild them from Procore",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return errors.New("links: say what to do: list or rebuild") },
	}
	cmd.AddCommand(rebuildCommand(), listCommand())
	return cmd
}

// common are the flags that both commands have.
type common struct {
	company int64
	output  string
}

func (c *common) flags(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&c.company, "company", 0, "the company's id in Procore (required)")
	cmd.Flags().StringVarP(&c.output, "output", "o", "table", "table or json")
}

func (c *common) check() error {
	switch {
	case c.company <= 0:
		return errors.New("--company is missing: the company's id in Procore, a positive number")
	case c.output != "table" && c.output != "json":
		return fmt.Errorf("-o %s: must be table or json", c.output)
	}
	return nil
}

// failed tells an error and makes it exit code 1.
func failed(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "tieback links: %v\n", err)
	return ErrFailed
}

func rebuildCommand() *cobra.Command {
	var c common
	var o Options
	cmd := &cobra.Command{
		Use: "rebuild --company N [--force] [--dry-run] [-o json]", Short: "Read the links back from Procore", Args: cobra.NoArgs,
		Long: `Read every list of the company's records in Procore and save the links that it shows: the
origin id of each synced record. A link that is known already stays as it is; where Procore
has another, or none, both are told, and only --force makes the link as Procore has it.

It may run beside a working pipeline: what an ERP request teaches meanwhile is newer and
stands, and half of Procore's rate limit is left to it. Only with the embedded broker (no
TIEBACK_NATS_URL) tieback run must be stopped first.

Exit code 0: done. 1: it failed, or a list could not be read. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return rebuild(cmd, c, o) },
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&o.Force, "force", false, "also change the links that differ from Procore, and end those that it has no more")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "change nothing, and print what would be changed")
	return cmd
}

func rebuild(cmd *cobra.Command, c common, o Options) error {
	b, err := open(cmd, c)
	if err != nil {
		return err
	}
	defer b.Close()
	o.Company = b.Companies[c.company]
	session, err := b.Procore.Company(c.company)
	if err != nil {
		return err
	}
	session = session.Retrying(Retry(func(d time.Duration, why string) {
		fmt.Fprintf(cmd.ErrOrStderr(), "tieback links: waiting %v: %s\n", d.Round(time.Second), why)
	}))
	report, err := Rebuild(cmd.Context(), session, state.Of(b.Bus), o)
	if err != nil {
		return failed(cmd, fmt.Errorf("rebuild of company %d did not end: %w", c.company, err))
	}
	if err := printReport(cmd.OutOrStdout(), c.output, report); err != nil {
		return failed(cmd, err)
	}
	if len(report.Unread) > 0 {
		return failed(cmd, fmt.Errorf("%d lists could not be read: the links are not whole", len(report.Unread)))
	}
	return nil
}

func listCommand() *cobra.Command {
	var c common
	cmd := &cobra.Command{
		Use: "list --company N [ITEM_TYPE]", Short: "List the links that are kept", Args: cobra.MaximumNArgs(1),
		Long: `List the links that are kept, all of a company's or those of one item type.

Exit code 0: done. 1: it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := open(cmd, c)
			if err != nil {
				return err
			}
			defer b.Close()
			if err := listLinks(cmd.Context(), cmd, b, c, args); err != nil {
				return failed(cmd, err)
			}
			return nil
		},
	}
	c.flags(cmd)
	return cmd
}

func listLinks(ctx context.Context, cmd *cobra.Command, b *run.Pipeline, c common, args []string) error {
	all, err := state.Of(b.Bus).AllLinks(ctx, c.company)
	if err != nil {
		return err
	}
	return printLinks(cmd.OutOrStdout(), c.output, sorted(all, args))
}
