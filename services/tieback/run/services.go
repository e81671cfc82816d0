package run

import (
	"context"
	"net"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/fetcher"
	"github.com/tieback/tieback/services/ingest"
	"github.com/tieback/tieback/services/lag-exporter"
	"github.com/tieback/tieback/services/status-reporter"
	"github.com/tieback/tieback/services/sweep"
	"github.com/tieback/tieback/services/worker/exports"
	"github.com/tieback/tieback/services/worker/imports"
	"github.com/tieback/tieback/services/worker/resets"
	"github.com/tieback/tieback/services/worker/syncs"
	"github.com/tieback/tieback/services/worker/unlinks"
)

// Services returns the services of the pipeline by name.
func Services(ingest tenant.Service) map[string]tenant.Service {
	return map[string]tenant.Service{
		"ingest": ingest, "fetcher": fetcher.Run,
		"export": exports.Run, "sync": syncs.Run, "import": imports.Run, "unlink": unlinks.Run, "reset": resets.Run,
		"status-reporter": statusreporter.Run, "sweep": sweep.Run,
		"lag-exporter": func(ctx context.Context, a *tenant.App) error { return lagexporter.Run(ctx, a.App) },
	}
}

// Ingest returns the service ingest, which serves on l. It takes the webhook tokens from the companies file, which this process
// reads anyway, and not from the file of hashes.
func Ingest(l net.Listener) tenant.Service {
	return func(ctx context.Context, a *tenant.App) error {
		s, err := ingest.New(a.Bus, a.Companies.Authentic, a.Log, a.Registry)
		if err != nil {
			return err
		}
		return s.Run(ctx, l)
	}
}
