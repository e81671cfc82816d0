package connect

import (
	"context"
	"errors"
	"maps"
	"os"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/tieback/run"
)

// Drivers returns the drivers by name. The embedded ledger's books are under data; for a company without books, the driver
// uses a temporary folder, so that a command creates none. Call close when all drivers are closed.
func Drivers(data string) (drivers connector.Drivers, close func()) {
	books := ledger.Open(run.LedgerDir(data))
	drivers = maps.Clone(connectors.Drivers)
	drivers["ledger"] = func(ctx context.Context, id int64, settings map[string]string) (connector.Driver, error) {
		if _, err := os.Stat(books.Path(id)); err == nil {
			return books.Opener()(ctx, id, settings)
		}
		return openTemporary(ctx, id, settings)
	}
	return drivers, func() { _ = books.Close() } // nothing was written
}

// openTemporary opens the ledger in a temporary folder, which is removed when the driver is closed.
func openTemporary(ctx context.Context, id int64, settings map[string]string) (connector.Driver, error) {
	dir, err := os.MkdirTemp("", "tieback-ledger-")
	if err != nil {
		return nil, err
	}
	books := ledger.Open(dir)
	driver, err := books.Opener()(ctx, id, settings)
	if err != nil {
		return nil, errors.Join(err, books.Close(), os.RemoveAll(dir))
	}
	return temporary{driver, func() error { return errors.Join(books.Close(), os.RemoveAll(dir)) }}, nil
}

// temporary is a driver with temporary books.
type temporary struct {
	connector.Driver
	remove func() error
}

// Close closes the driver and removes its books.
func (t temporary) Close() error { return errors.Join(t.Driver.Close(), t.remove()) }
