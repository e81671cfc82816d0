// Package losses implements `tieback losses`: it lists acknowledged messages that the streams no longer have.
package losses

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// flags are the command's flags.
type flags struct {
	accept bool
	reason string
	output command.Output
}

// Command is `tieback losses`. It needs the same settings as `tieback run`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "losses [--accept --reason WHY] [-o json]", Short: "List acknowledged messages that the broker has lost, or accept the losses", Args: cobra.NoArgs,
		Long: `Read all streams to their end, and list those that lack messages that they had acknowledged. A damaged file,
a deleted stream, a manual purge and a restored backup cause such losses. Messages that were removed when
the retention of their stream had ended are not losses. tieback status, doctor and audit and the alert TiebackMessagesLost report the
losses that show without reading everything.

A loss is listed until it is accepted. Accept it when you have repaired what you can:
  1. Restore the broker's data from a backup if there is one, and look at the disk.
  2. tieback sweep fetches the requests that are still open in Procore.
  3. tieback audit --since T for the missing time. Compare the requests that it can't account for with the ERP.
  4. After a loss of KV_tieback-state: tieback links rebuild --company N for each company.
  5. tieback losses --accept --reason "..."

With the embedded broker (no TIEBACK_NATS_URL) stop tieback run first.

Exit code 0: no losses, or they are accepted now. 1: there are losses, or it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	cmd.Flags().BoolVar(&f.accept, "accept", false, "accept all losses that are found now; they are not listed again")
	cmd.Flags().StringVar(&f.reason, "reason", "", "with --accept: what was done about the losses; it is stored")
	f.output.Flag(cmd)
	return cmd
}

// doc is the output of -o json.
type doc struct {
	Losses   []bus.Loss `json:"losses"`
	Accepted bool       `json:"accepted"`
}

func (f *flags) check() error {
	switch {
	case f.accept && f.reason == "":
		return errors.New("--accept needs --reason: give what was done about the loss")
	case f.reason != "" && !f.accept:
		return errors.New("--reason is stored only with an acceptance: give --accept too")
	}
	return f.output.Check()
}

func (f *flags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	p, err := tenant.Load("losses", os.Getenv, tenant.ValidCompanies)
	if err != nil {
		return err
	}
	b, err := command.Open(cmd, p)
	if err != nil {
		return err
	}
	defer b.Close()
	gaps, err := b.Bus.Gaps(cmd.Context(), bus.Kinds...)
	if err != nil {
		return command.Failed(cmd, err)
	}
	var all []bus.Loss
	if f.accept {
		all, err = b.Bus.AcceptLosses(cmd.Context(), connect.User(), f.reason, gaps...)
	} else {
		all, err = b.Bus.Losses(cmd.Context(), gaps...)
	}
	if err != nil {
		return command.Failed(cmd, err)
	}
	if err := f.show(cmd, all); err != nil {
		return command.Failed(cmd, err)
	}
	if len(all) > 0 && !f.accept {
		return command.ErrFailed
	}
	return nil
}

func (f *flags) show(cmd *cobra.Command, all []bus.Loss) error {
	return f.output.Print(cmd.OutOrStdout(), doc{append([]bus.Loss{}, all...), f.accept}, func(w io.Writer) error { return f.print(w, all) })
}

func (f *flags) print(w io.Writer, all []bus.Loss) error {
	for _, l := range all {
		text := l.String() + ": " + bus.LossAction
		if f.accept {
			text = "accepted: " + l.String()
		}
		fmt.Fprintln(w, terminal.Line(text))
	}
	if len(all) == 0 {
		fmt.Fprintln(w, "No losses found.")
	}
	return nil
}
