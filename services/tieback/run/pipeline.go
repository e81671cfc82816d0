// Package run runs all services of Tieback in one process, with the embedded broker and the embedded ERP where no
// others are configured.
package run

import (
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/telemetry"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/tieback/broker"
)

// Pipeline is everything but the run of it. Close it after Run has returned.
type Pipeline struct {
	*tenant.App
	Ledger *ledger.Ledger
	broker *broker.Server
}

// Open starts the embedded parts under TIEBACK_DATA and connects.
func Open(ctx context.Context, a *tenant.App) (*Pipeline, error) {
	pl := &Pipeline{App: a, Ledger: ledger.Open(LedgerDir(a.Settings.Data))}
	maps.Copy(a.Drivers, connectors.Drivers)
	a.Drivers["ledger"] = pl.Ledger.Opener()
	o := bus.Options{URL: a.Settings.NATSURL, Name: "tieback"}
	if o.URL == "" {
		var err error
		if pl.broker, err = broker.StartLogging(filepath.Join(a.Settings.Data, "jetstream"), a.Log); err != nil {
			pl.Close()
			return nil, fmt.Errorf("embedded broker: %w", err)
		}
		o.InProcess = pl.broker.InProcess()
	}
	if err := a.Connect(ctx, o); err != nil {
		pl.Close()
		return nil, err
	}
	pl.remember(ctx) // before anything is written
	return pl, nil
}

// LedgerDir is where the embedded ERP keeps its books.
func LedgerDir(data string) string { return filepath.Join(data, "ledger") }

// Run runs every service until ctx ends or one of them fails; deliveries come in on l.
func (pl *Pipeline) Run(ctx context.Context, l net.Listener) error {
	stopTraces, err := telemetry.StartTraces(ctx, "tieback", pl.Settings.Traces, pl.Log)
	if err != nil {
		return err
	}
	defer stopTraces()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return telemetry.ServeAdmin(ctx, pl.Settings.AdminAddr, pl.Registry, pl.ready)
	})
	if pl.broker != nil {
		g.Go(func() error { return pl.broker.Keep(ctx, pl.Log) })
	}
	g.Go(func() error { return pl.WatchSecrets(ctx) })
	g.Go(func() error { return pl.ReportTroubles(ctx) })
	for name, run := range Services(Ingest(l)) {
		g.Go(func() error {
			if err := run(ctx, pl.App); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (pl *Pipeline) ready() error {
	if pl.broker != nil {
		if err := pl.broker.Writes(); err != nil {
			return err
		}
	}
	return pl.Bus.Healthy()
}

// Close closes what Open opened.
func (pl *Pipeline) Close() {
	if pl.Bus != nil {
		pl.remember(context.Background())
		pl.Bus.Close()
	}
	if pl.broker != nil {
		pl.broker.Close()
	}
	if err := pl.Ledger.Close(); err != nil {
		pl.Log.Error("ledger", zap.Error(err))
	}
}

// remember writes down how far the embedded broker's streams have come, so that the next process notices what is lost until then.
func (pl *Pipeline) remember(ctx context.Context) {
	if pl.broker == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := pl.Bus.RecordWatermarks(ctx); err != nil {
		pl.Log.Warn("how far the streams have come can't be written down", zap.Error(err))
	}
}
