package lagexporter

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/pkg/bus"
)

// Run is the service. Where the process has no connection to the broker yet, it connects by itself: tieback_broker_up
// is 0 until then.
func Run(ctx context.Context, a *app.App) error {
	e, err := New(Deps{Log: a.Log, MaxBytes: a.Settings.MaxBytes}, a.Registry)
	if err != nil {
		return err
	}
	for a.Bus == nil {
		err := a.Connect(ctx, bus.Options{URL: a.Settings.NATSURL, Name: a.Name})
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			a.Log.Warn("no broker", zap.Error(err))
		}
		if !wait(ctx, reconnectDelay) {
			return ctx.Err()
		}
	}
	return e.Run(ctx, a.Bus)
}

// reconnectDelay is the time until the next attempt after the broker refused the connection: its administrator may
// be about to give it this service's key.
const reconnectDelay = 5 * time.Second
