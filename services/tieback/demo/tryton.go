package demo

import (
	"context"
	"fmt"
	"os"

	"github.com/tieback/tieback/services/connectors/tryton/local"
)

// trytonERP is a Tryton of the demo's own, with its PostgreSQL, set up from nothing. It lies in
// a temporary folder, since the database may have to run as another user than this one.
func trytonERP(ctx context.Context, s *stage) (map[string]string, error) {
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
	fmt.Fprintln(s.out, "Bringing up Tryton with its database: about two minutes the first time, some seconds from then on.")
	server, err := local.Start(ctx, dir)
	if err != nil {
		return nil, err
	}
	s.stop = append(s.stop, server.Close)
	settings := server.Settings()
	settings["driver"] = "tryton"
	return settings, nil
}
