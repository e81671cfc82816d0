package process

import (
	"context"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// lookEvery is how often the companies file and the files it names are read again. A secret
// that is rotated counts two looks later; see company.Watcher.
const lookEvery = 5 * time.Second

// WatchSecrets takes up rotated secrets until ctx ends: at once where they are asked for anew
// each time (webhook tokens, the client secret), by opening a company's ERP anew otherwise. The
// broker key needs nobody to watch it: it is read for each connect.
func (p *Process) WatchSecrets(ctx context.Context) error {
	every := p.Look
	if every == 0 {
		every = lookEvery
	}
	w := company.NewWatcher(p.Settings.Companies, p.Companies, p.Log)
	tick := time.NewTicker(every)
	defer tick.Stop()
	defer p.ERPs.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			w.Look()
			p.ERPs.Renew(ctx)
		}
	}
}
