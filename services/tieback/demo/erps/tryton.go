//go:build unix

package erps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/connectors/tryton/local"
	"github.com/tieback/tieback/services/tieback/demo"
)

// trytonERP starts a new Tryton with PostgreSQL in a temporary directory, because the database may have to run as another user.
func trytonERP(ctx context.Context, _ string, out io.Writer) (demo.Started, error) {
	if err := local.Available(); err != nil {
		return demo.Started{}, err
	}
	dir, err := os.MkdirTemp("", "tieback-tryton-")
	if err != nil {
		return demo.Started{}, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return demo.Started{}, errors.Join(err, os.RemoveAll(dir))
	}
	fmt.Fprintln(out, "Starting Tryton with its database. This takes about two minutes the first time, and some seconds later.")
	server, err := local.Start(ctx, dir)
	if err != nil {
		return demo.Started{}, errors.Join(err, os.RemoveAll(dir))
	}
	settings := server.Settings()
	settings["driver"] = "tryton"
	return demo.Started{
		Connector: settings, Drivers: connectors.Drivers,
		Stop: func() error { return errors.Join(server.Close(), os.RemoveAll(dir)) },
	}, nil
}
