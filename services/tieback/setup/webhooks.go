package setup

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/company"
)

// WebhooksCommand is `tieback webhooks`.
func WebhooksCommand() *cobra.Command {
	return &cobra.Command{
		Use: "webhooks", Short: "Write the file of webhook token hashes that ingest reads, using the companies file",
		Long: `Write the file of webhook token hashes that the service ingest reads, using the companies file.

tieback setup does this for its company. Run this after the companies file or a token was changed by hand. The
file is TIEBACK_WEBHOOKS, or webhooks/webhooks.json beside the companies file; it holds no token.

Exit code 0: written. 1: it could not be written. 2: a mistake in the settings or the companies file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := tenant.Load("tieback", os.Getenv, tenant.AllCompanies)
			if err != nil {
				return err
			}
			if p.Settings.Webhooks == "" {
				return errors.New("TIEBACK_WEBHOOKS is not set")
			}
			if err := company.WriteWebhookTokenHashes(p.Settings.Webhooks, p.Companies.WebhookTokenHashes()); err != nil {
				return failed(cmd, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d companies\n", p.Settings.Webhooks, len(p.Companies))
			return nil
		},
	}
}
