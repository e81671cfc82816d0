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

// Drivers gives the drivers by name, the embedded ledger's books under data. Books that are not there yet are not
// made: a folder that is removed again answers for them. Close ends what the drivers share.
func Drivers(data string) (drivers connector.Drivers, close func()) {
	books := ledger.Open(run.LedgerDir(data))
	drivers = maps.Clone(connectors.Drivers)
	drivers["ledger"] = func(ctx context.Context, id int64, settings map[string]string) (connector.Driver, error) {
		if _, err := os.Stat(books.Path(id)); err == nil {
			return books.Opener()(ctx, id, settings)
		}
		return aside(ctx, id, settings)
	}
	return drivers, func() { _ = books.Close() } // nothing was written
}

// aside opens the ledger in a folder of its own, which goes when the driver is closed.
func aside(ctx context.Context, id int64, settings map[string]string) (connector.Driver, error) {
	dir, err := os.MkdirTemp("", "tieback-ledger-")
	if err != nil {
		return nil, err
	}
	books := ledger.Open(dir)
	driver, err := books.Opener()(ctx, id, settings)
	if err != nil {
		return nil, errors.Join(err, books.Close(), os.RemoveAll(dir))
	}
	return passing{driver, func() error { return errors.Join(books.Close(), os.RemoveAll(dir)) }}, nil
}

// passing is a driver whose books go with it.
type passing struct {
	connector.Driver
	end func() error
}

// Close closes the driver and removes its books.
func (p passing) Close() error { return errors.Join(p.Driver.Close(), p.end()) }
