package process

import (
	"context"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/secretfile"
)

// lookEvery is how often the companies file and the files it names are read again. A secret
// that is rotated counts two looks later; see company.Watcher.
const lookEvery = 5 * time.Second

// WatchSecrets takes up rotated secrets until ctx ends: at once where they are asked for anew
// each time (webhook tokens), by a login at Procore (a client's credentials), by opening a company's ERP anew
// otherwise. The broker key needs nobody to watch it: it is read for each connect.
func (p *Process) WatchSecrets(ctx context.Context) error {
	every := p.Look
	if every == 0 {
		every = lookEvery
	}
	p.tellExposed()
	w := company.NewWatcher(p.Settings.Companies, p.Companies, p.Log)
	defer p.ERPs.Wait()
	var g errgroup.Group
	g.Go(func() error { return each(ctx, every, func() { p.Procore.Renew(ctx) }) }) // a login that hangs holds up nothing else
	g.Go(func() error {
		return each(ctx, every, func() {
			w.Poll()
			p.ERPs.Renew(ctx)
		})
	})
	return g.Wait()
}

// tellExposed warns of secrets that others than their owner and group may read. They are used all the same: an
// orchestrator may mount them so where nobody else is.
func (p *Process) tellExposed() {
	for _, path := range append(company.Files(p.Settings.Companies), p.Settings.NATSNKeyFile) {
		if secretfile.Exposed(path) {
			p.Log.Warn("everybody on this machine can read a file with a secret: chmod o-rwx it", zap.String("file", path))
		}
	}
}

// each does something at intervals until ctx ends.
func each(ctx context.Context, every time.Duration, do func()) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			do()
		}
	}
}
