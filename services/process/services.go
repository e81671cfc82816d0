package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/webhooks"
	"github.com/tieback/tieback/services/deadline"
	"github.com/tieback/tieback/services/fetcher"
	"github.com/tieback/tieback/services/ingest"
	"github.com/tieback/tieback/services/lag"
	"github.com/tieback/tieback/services/statusreporter"
	"github.com/tieback/tieback/services/sweep"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/exports"
	"github.com/tieback/tieback/services/worker/imports"
	"github.com/tieback/tieback/services/worker/resets"
	"github.com/tieback/tieback/services/worker/syncs"
	"github.com/tieback/tieback/services/worker/unlinks"
)

// Handlers are the five categories' handlers.
var Handlers = map[catalogue.Category]worker.Handlers{
	catalogue.Export: exports.Handlers,
	catalogue.Sync:   syncs.Handlers,
	catalogue.Import: imports.Handlers,
	catalogue.Unlink: unlinks.Handlers,
	catalogue.Reset:  resets.Handlers,
}

// Ingest is the webhook receiver in a process of its own. It reads the hashes of webhook tokens and no other
// secret.
func Ingest(ctx context.Context, p *Process) error {
	tokens, err := webhooks.Open(p.Settings.Webhooks, p.Log)
	if err != nil {
		return fmt.Errorf("TIEBACK_WEBHOOKS: %w", err)
	}
	l, err := net.Listen("tcp", p.Settings.IngestAddr)
	if err != nil {
		return fmt.Errorf("TIEBACK_INGEST_ADDR: %w", err)
	}
	s, err := ingest.New(p.Bus, tokens.Authentic, p.Log, p.Registry)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { tokens.Watch(ctx, cmp.Or(p.Look, lookEvery)); return nil })
	g.Go(func() error { return s.Run(ctx, l) })
	return g.Wait()
}

// IngestOn is the webhook receiver beside the other services, on a listener that is open already.
func IngestOn(l net.Listener) Service {
	return func(ctx context.Context, p *Process) error {
		s, err := ingest.New(p.Bus, p.Companies.Authentic, p.Log, p.Registry)
		if err != nil {
			return err
		}
		return s.Run(ctx, l)
	}
}

// Fetcher gets the payloads.
func Fetcher(ctx context.Context, p *Process) error {
	return fetcher.New(fetcher.Deps{Bus: p.Bus, Companies: p.Companies, Procore: p.Procore, Log: p.Log, Metrics: p.Metrics, Backoff: p.Backoff}).Run(ctx)
}

// Worker works one category.
func Worker(c catalogue.Category) Service {
	return func(ctx context.Context, p *Process) error {
		s, err := worker.New(ctx, c, Handlers[c], worker.Deps{
			Bus: p.Bus, Companies: p.Companies, Procore: p.Procore, ERPs: p.ERPs, Log: p.Log, Metrics: p.Metrics, Calls: p.Calls,
			Backoff: p.Backoff, Deadline: p.deadlines().Of(c), Slow: p.Slow,
		})
		if err != nil {
			return err
		}
		return s.Run(ctx)
	}
}

// StatusReporter tells Procore.
func StatusReporter(ctx context.Context, p *Process) error {
	s, err := statusreporter.New(statusreporter.Deps{
		Bus: p.Bus, Companies: p.Companies, Procore: p.Procore, Log: p.Log, Metrics: p.Metrics, Registry: p.Registry, Backoff: p.Backoff,
		Deadlines: p.deadlines(), Slow: p.Slow,
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// Sweep finds what never reached ingest.
func Sweep(ctx context.Context, p *Process) error {
	s, err := sweep.New(sweep.Deps{
		Bus: p.Bus, Companies: p.Companies, Procore: p.Procore, Log: p.Log, Every: p.Settings.SweepEvery, Backoff: p.Backoff,
	}, p.Registry)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// Lag shows how far each consumer is behind.
func Lag(ctx context.Context, p *Process) error {
	e, err := lag.New(lag.Deps{Log: p.Log}, p.Registry)
	if err != nil {
		return err
	}
	return e.Run(ctx, p.Bus)
}

func (p *Process) deadlines() deadline.Limits {
	return deadline.Limits{Interactive: p.Settings.Deadline, Sync: p.Settings.SyncDeadline}
}

// All are the services of the pipeline, by name.
func All(ingest Service) map[string]Service {
	all := map[string]Service{"ingest": ingest, "fetcher": Fetcher, "status-reporter": StatusReporter, "sweep": Sweep, "lag": Lag}
	for _, c := range catalogue.Categories {
		all[string(c)] = Worker(c)
	}
	return all
}
