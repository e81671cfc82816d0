package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/telemetry"
)

// Program is a service that has a process of its own.
type Program struct {
	Name string // of the service, and of its user at the broker

	// Load is called before anything starts, and reads the configuration that the service needs in addition to the
	// settings. Its error is a mistake in the configuration. It may be nil.
	Load func(*App) error

	// Background runs beside Run, also while Main waits for the broker. It returns nil when its context ends. It may be
	// nil.
	Background Service

	// Run is the service. App.Bus is connected, unless BrokerOptional is set.
	Run Service

	// BrokerOptional is set if the service is ready without a broker. Run then connects to it.
	BrokerOptional bool
}

// Main runs the program until a signal (SIGINT, SIGTERM) or an error, and returns the exit code of its process: 0 stopped by a
// signal, 1 failed, 2 a mistake in the configuration.
//
// With the argument healthcheck it asks the process in the same container whether it is ready. Orchestrators use it, because the
// images have no shell.
func (p Program) Main() int {
	if len(os.Args) > 1 && os.Args[1] == "healthcheck" {
		return healthcheck()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a, err := New(p.Name, os.Getenv)
	if err == nil && p.Load != nil {
		err = p.Load(a)
	}
	if err == nil && a.Settings.NATSURL == "" {
		err = errors.New("TIEBACK_NATS_URL is not set: a separate service needs a broker (nats://host:4222)")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", p.Name, err)
		return 2
	}
	if err := p.serve(ctx, a); err != nil && ctx.Err() == nil {
		a.Log.Error("stopped", zap.Error(err))
		return 1
	}
	return 0
}

func healthcheck() int {
	s, err := settings.Load(os.Getenv)
	if err == nil {
		err = telemetry.Ready(s.AdminAddr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

var errNotConnected = errors.New("waiting for the broker, or for `provisioner` to create streams and consumers")

// serve runs the service and its admin port; the first to end stops the other. The admin port is served from the start, so that a
// process that waits for the broker is alive but not ready, and is not restarted.
func (p Program) serve(ctx context.Context, a *App) error {
	stopTraces, err := telemetry.StartTraces(ctx, a.Name, a.Settings.Traces, a.Log)
	if err != nil {
		return err
	}
	defer stopTraces()
	defer func() {
		if a.Bus != nil {
			a.Bus.Close()
		}
	}()
	var connected atomic.Pointer[bus.Bus]
	var waiting atomic.Pointer[error] // why the service is not connected yet
	waiting.Store(&errNotConnected)
	ready := func() error {
		if err := a.Waiting(); err != nil {
			return err
		}
		if p.BrokerOptional {
			return nil
		}
		if b := connected.Load(); b != nil {
			return b.Healthy()
		}
		return *waiting.Load()
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return telemetry.ServeAdmin(ctx, a.Settings.AdminAddr, a.Registry, ready) })
	if p.Background != nil {
		g.Go(func() error { return p.Background(ctx, a) })
	}
	g.Go(func() error {
		if !p.BrokerOptional {
			o := bus.Options{URL: a.Settings.NATSURL, Name: a.Name, Waiting: func(why error) {
				why = fmt.Errorf("waiting for the broker: %w", why)
				waiting.Store(&why)
			}}
			if err := a.Connect(ctx, o); err != nil {
				return err
			}
			connected.Store(a.Bus)
		}
		start := time.Now()
		a.Log.Info("running", zap.String("admin", a.Settings.AdminAddr))
		err := p.Run(ctx, a)
		if err == nil && ctx.Err() == nil {
			err = errors.New("the service ended although it was not stopped")
		}
		a.Log.Info("service ended", zap.Duration("after", time.Since(start)))
		return err
	})
	return g.Wait()
}
