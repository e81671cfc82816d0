package audit

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/services/sweep"
)

// SweepCommand is `tieback sweep`.
func SweepCommand() *cobra.Command {
	c := common{name: "sweep"}
	cmd := &cobra.Command{
		Use: "sweep [--company N] [-o json]", Short: "Bring in now what never reached us", Args: cobra.NoArgs,
		Long: `Read Procore's log of deliveries, those discarded or failing, and the request details that are
open, and bring in each ERP request that never reached us. The service sweep does the same every
TIEBACK_SWEEP_EVERY (5m). What is brought in is worked by the running pipeline; with the embedded broker (no
TIEBACK_NATS_URL), for which tieback run must be stopped first, when it runs again.

Exit code 0: swept. 1: it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.sweep(cmd) },
	}
	c.flags(cmd)
	return cmd
}

func (c *common) sweep(cmd *cobra.Command) error {
	b, companies, err := c.open(cmd)
	if err != nil {
		return err
	}
	defer b.Close()
	s, err := sweep.New(sweep.Deps{Bus: b.Bus, Companies: b.Companies, Procore: b.Procore, Log: b.Log, Backoff: b.Backoff, Every: b.Settings.SweepEvery}, b.Registry)
	if err != nil {
		return c.failed(cmd, err)
	}
	var failed error
	for _, id := range companies {
		result, err := s.Sweep(cmd.Context(), id)
		if err := printSweep(cmd.OutOrStdout(), c.output, result); err != nil {
			return c.failed(cmd, err)
		}
		if err != nil { // the others are swept all the same
			failed = c.failed(cmd, fmt.Errorf("company %d: %w", id, err))
		}
	}
	return failed
}
