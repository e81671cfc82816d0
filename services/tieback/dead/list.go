package dead

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
)

func listCommand() *cobra.Command {
	var f filter
	var o command.Output
	var resolved bool
	cmd := &cobra.Command{
		Use: "list [--company N] [--cause CAUSE] [--since 2h] ... [-o json]", Short: "List the unresolved dead letters, newest last", Args: cobra.NoArgs,
		Long: `List the unresolved dead letters, newest last, and their number by cause:

  company-data  the record in Procore or in the ERP; its accountant can correct it
  erp           the ERP was unavailable, or gave a wrong answer
  procore       Procore was unavailable, or gave a wrong answer
  limits        a rate limit, or the deadline while waiting for one
  tieback       Tieback, its settings, or a message that no service wrote
  unknown       a dead letter of an older version, which recorded no cause

Replays that were interrupted are listed as well: replay these dead letters once more.
` + codes,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return err
			}
			pick, err := f.read(time.Now())
			if err != nil {
				return err
			}
			pick.IncludeResolved = resolved
			return list(cmd, pick, o)
		},
	}
	f.flags(cmd)
	o.Flag(cmd)
	cmd.Flags().BoolVar(&resolved, "all", false, "list resolved dead letters too, with their resolutions")
	return cmd
}

func list(cmd *cobra.Command, f *operatorv1.DeadLetterFilter, o command.Output) error {
	c, err := command.Client(cmd, connect.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	letters, err := all(cmd.Context(), c, f)
	if err != nil {
		return command.APIError(cmd, err)
	}
	if err := o.Print(cmd.OutOrStdout(), letters, func(w io.Writer) error { return printLetters(w, letters) }); err != nil {
		return command.Failed(cmd, err)
	}
	return nil
}

// all returns all pages of a list in one.
func all(ctx context.Context, c *connect.Client, f *operatorv1.DeadLetterFilter) (*operatorv1.ListDeadLettersResponse, error) {
	whole := &operatorv1.ListDeadLettersResponse{}
	for r := (&operatorv1.ListDeadLettersRequest{Filter: f, PageSize: 10_000}); ; {
		page, err := c.ListDeadLetters(ctx, r)
		if err != nil {
			return nil, err
		}
		page.DeadLetters = append(whole.DeadLetters, page.DeadLetters...)
		whole = page
		if r.PageToken = page.NextPageToken; r.PageToken == "" {
			return whole, nil
		}
	}
}
