package tenant

import (
	"cmp"
	"context"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/secretfile"
)

// WatchSecrets applies rotated secrets until ctx ends. A new webhook token is valid at once, new credentials of a client are used
// by a new login at Procore, and for other secrets the company's ERP is opened again. The broker key is not watched: it is read
// for each connect.
func (a *App) WatchSecrets(ctx context.Context) error {
	every := cmp.Or(a.Reread, app.RereadEvery)
	a.warnOfExposedFiles()
	w := company.NewWatcher(a.Settings.Companies, a.Companies, a.Log)
	defer a.ERPs.Wait()
	var g errgroup.Group
	g.Go(func() error { return repeat(ctx, every, func() { a.Procore.Renew(ctx) }) }) // a login that hangs delays nothing else
	g.Go(func() error {
		return repeat(ctx, every, func() {
			w.Poll()
			a.ERPs.Renew(ctx)
		})
	})
	return g.Wait()
}

// warnOfExposedFiles warns of secret files that users other than their owner and group may read. The files are used nevertheless:
// an orchestrator may mount them with this mode in a container that has no other users.
func (a *App) warnOfExposedFiles() {
	for _, path := range append(company.Files(a.Settings.Companies), a.Settings.NATSNKeyFile) {
		if secretfile.Exposed(path) {
			a.Log.Warn("every user of this machine can read a file with a secret: run chmod o-rwx on it", zap.String("file", path))
		}
	}
}

// repeat calls fn at intervals until ctx ends.
func repeat(ctx context.Context, every time.Duration, fn func()) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			fn()
		}
	}
}
