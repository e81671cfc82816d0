package lagexporter

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/pkg/bus"
)

// Run runs the service. If the process is not connected to the broker yet, Run connects; tieback_broker_up is 0 until then.
func Run(ctx context.Context, a *app.App) error {
	e, err := New(Deps{Log: a.Log, MaxBytes: a.Settings.MaxBytes, Memory: a.Settings.BrokerMemory}, a.Registry)
	if err != nil {
		return err
	}
	for a.Bus == nil {
		err := a.Connect(ctx, bus.Options{URL: a.Settings.NATSURL, Name: a.Name})
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			a.Log.Warn("could not connect to the broker, will try again", zap.Error(err))
		}
		if !wait(ctx, reconnectDelay) {
			return ctx.Err()
		}
	}
	return e.Run(ctx, a.Bus)
}

// reconnectDelay is the time between attempts to connect. The broker may refuse them until it has this service's key.
const reconnectDelay = 5 * time.Second
