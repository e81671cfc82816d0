// Package connect gives a command access to the operator API, and to the broker and the ERP drivers that `tieback run` uses,
// without starting any service.
package connect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/tieback/broker"
	"github.com/tieback/tieback/services/tieback/run"
)

// timeout limits how long connecting to the broker takes.
const timeout = 10 * time.Second

// Open connects to the broker of p's settings. If they name none, it opens the embedded broker, and `tieback run`
// can't start until the result is closed. An error is a failure, not a mistake in usage or settings.
func Open(ctx context.Context, p *tenant.App) (*run.Pipeline, error) {
	if p.Settings.NATSURL != "" { // opening the embedded broker has no limit
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	pl, err := run.Open(ctx, p, connectors.Drivers)
	if errors.Is(err, broker.ErrInUse) {
		return nil, fmt.Errorf("TIEBACK_NATS_URL is not set, and the embedded broker is in use. Stop tieback run first, or run a broker and set TIEBACK_NATS_URL for both: %w", err)
	}
	return pl, err
}

// User returns the user and the host of this process, as user@host.
func User() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
