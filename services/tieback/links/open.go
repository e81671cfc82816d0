package links

import (
	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/run"
)

// open checks usage and settings, where an error is exit code 2, then connects.
func open(cmd *cobra.Command, c common) (*run.Pipeline, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	p, err := tenant.Load("links")
	if err != nil {
		return nil, err
	}
	if p.Companies[c.company] == nil {
		return nil, p.NotServed(c.company)
	}
	b, err := connect.Open(cmd.Context(), p)
	if err != nil {
		return nil, failed(cmd, err)
	}
	return b, nil
}
