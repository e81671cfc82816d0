package dead

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/console/operator/dead"
	"github.com/tieback/tieback/services/tieback/command"
)

func listCommand() *cobra.Command {
	var f filter
	var o command.Output
	var all bool
	cmd := &cobra.Command{
		Use: "list [--company N] [--cause CAUSE] [--since 2h] ... [-o json]", Short: "List the open dead letters, newest last", Args: cobra.NoArgs,
		Long: `List the open dead letters, newest last, and their number by cause:

  tenant-data   the record in Procore or in the ERP; its accountant can correct it
  erp           the ERP was unavailable, or gave a wrong answer
  procore       Procore was unavailable, or gave a wrong answer
  limits        a rate limit, or the deadline while waiting for one
  ours          Tieback, its settings, or a message that no service wrote
  unknown       a dead letter of an older version, which recorded no cause

Replays that were interrupted are listed as well: replay these dead letters once more.
With -o json: {"dead_letters": [...], "causes": {"erp": 2, ...}, "total": 2}.
` + codes,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return err
			}
			pick, err := f.read(time.Now())
			if err != nil {
				return err
			}
			pick.All = all
			return list(cmd, pick, o)
		},
	}
	f.flags(cmd)
	o.Flag(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "list resolved dead letters too, with their resolutions")
	return cmd
}

func list(cmd *cobra.Command, f request.Filter, o command.Output) error {
	p, err := open(cmd, "")
	if err != nil {
		return err
	}
	defer p.Close()
	letters, err := dead.List(cmd.Context(), p.Bus, f)
	if err == nil {
		err = o.Print(cmd.OutOrStdout(), letters, func(w io.Writer) error { return printLetters(w, letters) })
	}
	if err != nil {
		return command.Failed(cmd, err)
	}
	return nil
}
