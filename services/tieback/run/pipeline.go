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
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/telemetry"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/tieback/broker"
)

// Pipeline has the connections and drivers of all services. Close it after Run has returned.
type Pipeline struct {
	*tenant.App
	Console tenant.Service // the operators' console; nil: it is not served
	Ledger  *ledger.Ledger
	broker  *broker.Server
}

// Open opens the ledger under TIEBACK_DATA and connects to the broker. Without TIEBACK_NATS_URL it starts the embedded broker.
// The companies can have an ERP of drivers, which may be nil, or the ledger.
func Open(ctx context.Context, a *tenant.App, drivers connector.Drivers) (*Pipeline, error) {
	pl := &Pipeline{App: a, Ledger: ledger.Open(LedgerDir(a.Settings.Data))}
	maps.Copy(a.Drivers, drivers)
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
	pl.recordWatermarks(ctx) // before anything is written
	return pl, nil
}

// LedgerDir returns the directory of the embedded ERP's books.
func LedgerDir(data string) string { return filepath.Join(data, "ledger") }

// Run runs every service until ctx ends or one of them fails. ingest serves on l, which Run closes.
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
		g.Go(func() error { return pl.broker.Supervise(ctx, pl.Log) })
		g.Go(func() error { pl.listenLocal(ctx); return nil })
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
	if pl.Console != nil {
		g.Go(func() error { pl.serveConsole(ctx); return nil })
	}
	return g.Wait()
}

// listenLocal lets `tieback backup` use the embedded broker. The pipeline goes on without it after an error.
func (pl *Pipeline) listenLocal(ctx context.Context) {
	if err := pl.broker.ListenLocal(ctx, broker.Socket(pl.Settings.Data)); err != nil {
		pl.Log.Warn("tieback backup can't be used while this process runs", zap.Error(err))
	}
}

// serveConsole serves the console until ctx ends. The pipeline goes on without it after an error.
func (pl *Pipeline) serveConsole(ctx context.Context) {
	if err := pl.Console(ctx, pl.App); err != nil && ctx.Err() == nil {
		pl.Log.Error("the console ended; requests are processed without it until a restart", zap.Error(err))
	}
}

func (pl *Pipeline) ready() error {
	if pl.broker != nil {
		if err := pl.broker.Writable(); err != nil {
			return err
		}
	}
	return pl.Bus.Healthy()
}

// Close closes what Open opened.
func (pl *Pipeline) Close() {
	if pl.Bus != nil {
		pl.recordWatermarks(context.Background())
		pl.Bus.Close()
	}
	if pl.broker != nil {
		pl.broker.Close()
	}
	if err := pl.Ledger.Close(); err != nil {
		pl.Log.Error("ledger", zap.Error(err))
	}
}

// recordWatermarks records the last sequences of the embedded broker's streams, so that the next process can detect losses.
func (pl *Pipeline) recordWatermarks(ctx context.Context) {
	if pl.broker == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := pl.Bus.RecordWatermarks(ctx); err != nil {
		pl.Log.Warn("the last sequences of the streams can't be recorded: losses until the next record may stay unnoticed", zap.Error(err))
	}
}
