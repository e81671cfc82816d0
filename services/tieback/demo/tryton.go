package demo

import (
	"context"
	"fmt"
	"os"

	"github.com/tieback/tieback/services/connectors/tryton/local"
)

// trytonERP starts a new Tryton with PostgreSQL in a temporary directory, because the database may have to run as another user.
func trytonERP(ctx context.Context, s *demo) (map[string]string, error) {
	if err := local.Available(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tieback-tryton-")
	if err != nil {
		return nil, err
	}
	s.stop = append(s.stop, func() error { return os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	fmt.Fprintln(s.out, "Starting Tryton with its database. This takes about two minutes the first time, and some seconds later.")
	server, err := local.Start(ctx, dir)
	if err != nil {
		return nil, err
	}
	s.stop = append(s.stop, server.Close)
	settings := server.Settings()
	settings["driver"] = "tryton"
	return settings, nil
}
