package syncs

import (
	"context"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/services/worker"
)

// Run is the service sync.
func Run(ctx context.Context, a *tenant.App) error {
	return worker.Run(ctx, a, catalogue.Sync, Handlers)
}
