package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/pkg/tokenhash"
)

// Run runs the service in a process of its own. It reads the hashes of webhook tokens, and no secret.
func Run(ctx context.Context, a *app.App) error {
	tokens, err := tokenhash.Open(a.Settings.Webhooks, a.Log)
	if err != nil {
		return fmt.Errorf("TIEBACK_WEBHOOKS: %w", err)
	}
	l, err := net.Listen("tcp", a.Settings.IngestAddr)
	if err != nil {
		return fmt.Errorf("TIEBACK_INGEST_ADDR: %w", err)
	}
	s, err := New(a.Bus, tokens.Authentic, a.Log, a.Registry)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { tokens.Watch(ctx, cmp.Or(a.Reread, app.RereadEvery)); return nil })
	g.Go(func() error { return s.Run(ctx, l) })
	return g.Wait()
}
