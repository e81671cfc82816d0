package imports

import (
	"context"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/services/worker"
)

// Run is the service import.
func Run(ctx context.Context, a *tenant.App) error {
	return worker.Run(ctx, a, catalogue.Import, Handlers)
}
