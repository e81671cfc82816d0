// Command lag shows Prometheus how far each consumer is behind and how old its oldest message
// is, which dead letters wait for somebody, and whether the broker answers. It is ready as soon as it
// can be scraped: that the broker is away is what it is there to say.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/telemetry"
	"github.com/tieback/tieback/services/lag"
	"github.com/tieback/tieback/services/process"
)

const name = "lag"

func main() { os.Exit(run()) }

// run returns 0 for stopped by a signal, 1 for failed, 2 for wrong settings.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := settings.Load(os.Getenv) // no companies file: it needs no secret but its own
	if err != nil {
		return told(2, err)
	}
	if len(os.Args) > 1 && os.Args[1] == "healthcheck" {
		if err := telemetry.Ready(s.AdminAddr); err != nil {
			return told(1, err)
		}
		return 0
	}
	if s.NATSURL == "" {
		return told(2, fmt.Errorf("TIEBACK_NATS_URL is not set: a separate service needs a broker (nats://host:4222)"))
	}
	log, err := process.Logger(s)
	if err != nil {
		return told(2, err)
	}
	log = log.With(zap.String("service", name))
	if err := serve(ctx, s, log); err != nil && ctx.Err() == nil {
		log.Error("stopped", zap.Error(err))
		return 1
	}
	return 0
}

func told(code int, err error) int {
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	return code
}

// serve can be scraped from the start on, with tieback_broker_up 0 until the broker is there.
func serve(ctx context.Context, s settings.Settings, log *zap.Logger) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), telemetry.BuildInfo(name))
	exporter, err := lag.New(lag.Deps{Log: log, MaxBytes: s.MaxBytes}, reg)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return telemetry.ServeAdmin(ctx, s.AdminAddr, reg, func() error { return nil })
	})
	g.Go(func() error {
		b, err := connect(ctx, s, log)
		if err != nil {
			return err
		}
		defer b.Close()
		return exporter.Run(ctx, b)
	})
	log.Info("running", zap.String("admin", s.AdminAddr))
	return g.Wait()
}

// again is how long a broker that will not have us is left alone.
const again = 5 * time.Second

// connect waits for the broker, and goes on asking one that refuses: its key may be on the way.
func connect(ctx context.Context, s settings.Settings, log *zap.Logger) (*bus.Bus, error) {
	for {
		b, err := bus.Connect(ctx, bus.Options{
			URL: s.NATSURL, Name: name, NKeyFile: s.NATSNKeyFile, CAFile: s.NATSCAFile, Made: s.Made, Replicas: s.Replicas, Log: log,
		})
		if err == nil {
			return b, nil
		}
		if ctx.Err() == nil {
			log.Warn("no broker", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(again):
		}
	}
}
