// Package losses implements `tieback losses`: it lists acknowledged messages that the streams no longer have.
package losses

import (
	"errors"
	"fmt"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// ErrFailed is exit code 1: the reason has been told already. Any other error of the command is a mistake in its usage or settings,
// exit code 2, and not told yet.
var ErrFailed = errors.New("failed; the reason was told")

// flags are the command's.
type flags struct {
	accept bool
	reason string
	output string
}

// Command is `tieback losses`. It needs the same settings as `tieback run`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "losses [--accept --reason WHY] [-o json]", Short: "Say which messages the broker has lost after it acknowledged them, or accept that", Args: cobra.NoArgs,
		Long: `Read all streams to their end, and say which of them lack messages that they had acknowledged. A damaged file,
a deleted stream, a purge by hand and a backup that was restored all show here; messages that have
reached 30 days, the age at which the streams drop them, are no loss. tieback status, doctor and audit and the alert TiebackMessagesLost say the same
of what shows without reading everything.

A loss is shown until it is accepted. Accept it when you have dealt with it:
  1. Restore the broker's data from a backup if there is one, and look at the disk.
  2. tieback sweep brings in what Procore still has open.
  3. tieback audit --since T for the time that is missing; compare what it can't account for with the ERP.
  4. After a loss of KV_tieback-state: tieback links rebuild --company N for each company.
  5. tieback losses --accept --reason "..."

Only with the embedded broker (no TIEBACK_NATS_URL) tieback run must be stopped first.

Exit code 0: nothing is lost, or it is accepted now. 1: something is, or it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	cmd.Flags().BoolVar(&f.accept, "accept", false, "all that is missing now has been dealt with: say no more of it")
	cmd.Flags().StringVar(&f.reason, "reason", "", "with --accept: what was done; it is kept")
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table or json")
	return cmd
}

// doc is what -o json prints. The names of its fields are stable.
type doc struct {
	Losses   []bus.Loss `json:"losses"`
	Accepted bool       `json:"accepted"`
}

func failed(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "tieback losses: %s\n", terminal.Plain(err.Error()))
	return ErrFailed
}

func (f *flags) check() error {
	switch {
	case f.output != "table" && f.output != "json":
		return fmt.Errorf("-o %s: must be table or json", f.output)
	case f.accept && f.reason == "":
		return errors.New("--accept needs --reason: say what was done about the loss")
	case f.reason != "" && !f.accept:
		return errors.New("--reason is kept with an acceptance: give --accept too")
	}
	return nil
}

func (f *flags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	p, err := tenant.LoadServing("losses")
	if err != nil {
		return err
	}
	b, err := connect.Connect(cmd.Context(), p)
	if err != nil {
		return failed(cmd, err)
	}
	defer b.Close()
	gaps, err := b.Bus.Gaps(cmd.Context(), bus.Kinds...)
	if err != nil {
		return failed(cmd, err)
	}
	ask := b.Bus.Losses
	if f.accept {
		ask = b.Bus.AcceptLosses(me(), f.reason)
	}
	all, err := ask(cmd.Context(), gaps...)
	if err != nil {
		return failed(cmd, err)
	}
	if err := f.show(cmd, all); err != nil {
		return failed(cmd, err)
	}
	if len(all) > 0 && !f.accept {
		return ErrFailed
	}
	return nil
}

func (f *flags) show(cmd *cobra.Command, all []bus.Loss) error {
	w := cmd.OutOrStdout()
	if f.output == "json" {
		return terminal.JSON(w, doc{append([]bus.Loss{}, all...), f.accept})
	}
	for _, l := range all {
		text := l.String() + ": " + bus.AfterLoss
		if f.accept {
			text = "accepted: " + l.String()
		}
		fmt.Fprintln(w, terminal.Line(text))
	}
	if len(all) == 0 {
		fmt.Fprintln(w, "The streams have lost nothing that can be seen.")
	}
	return nil
}

// me is the user of this machine.
func me() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
