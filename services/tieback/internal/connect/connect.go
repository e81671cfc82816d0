// Package connect gives a command access to the broker and to the ERP drivers that `tieback run` uses, without
// starting any service.
package connect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/tieback/broker"
	"github.com/tieback/tieback/services/tieback/run"
)

// reach is how long the broker has to answer.
const reach = 10 * time.Second

// Connect reaches the broker of p's settings, the embedded one where they name none: then `tieback run`
// can't start until it is closed. Its errors are failures, not mistakes in usage or settings: p has been
// loaded and checked.
func Connect(ctx context.Context, p *tenant.App) (*run.Pipeline, error) {
	if p.Settings.NATSURL != "" { // the embedded one is opened here, which takes the time that it takes
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, reach)
		defer cancel()
	}
	pl, err := run.Open(ctx, p)
	if errors.Is(err, broker.ErrHeld) {
		return nil, fmt.Errorf("TIEBACK_NATS_URL is not set, so all is kept by the embedded broker. Stop tieback run first, or give both a broker: %w", err)
	}
	return pl, err
}
