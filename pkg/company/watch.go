package company

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"maps"
	"slices"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/secretfile"
)

// Watcher applies secrets that are rotated in the companies file, or in a file that it names, while the process runs. Each
// Poll reads the files:
//
//	unchanged since they were applied   nothing happens
//	changed since the last Poll         nothing happens yet: a file may be incomplete
//	unchanged since the last Poll       each company with a valid entry gets the secrets in its entry
//
// A client's new credentials are used at its next login, and Procore may refuse them. See procore.Client.Renew.
//
// A company with an invalid entry keeps its secrets. If the file can't be parsed, all companies keep theirs. The error is logged
// once, with the field. Other changes are logged; they take effect after a restart.
//
// Watcher compares the content of the files, not their modification times: Kubernetes swaps symbolic links.
type Watcher struct {
	path string
	set  Set
	log  *zap.Logger

	last, applied [sha256.Size]byte // fingerprints of the last Poll, and of the files last applied
	failing       bool
}

// NewWatcher returns a watcher of the companies file at path, for the companies loaded from it.
func NewWatcher(path string, set Set, log *zap.Logger) *Watcher {
	return &Watcher{path: path, set: set, log: log}
}

// Poll reads all files once. Call it every few seconds, from one goroutine.
func (w *Watcher) Poll() {
	p, sum := w.read()
	stable := sum == w.last
	w.last = sum
	if !stable || sum == w.applied {
		return
	}
	w.applied = sum
	w.logError(p.allErrors())
	if p.err == nil {
		w.apply(p)
	}
}

// read reads the companies file and all files that it names, and returns their fingerprint.
func (w *Watcher) read() (parsed, [sha256.Size]byte) {
	f := fingerprint{sha256.New()}
	raw, err := f.read(w.path)
	if err != nil {
		return parsed{err: err}, f.sum()
	}
	p := parse(raw, f.read)
	return p, f.sum()
}

// fingerprint hashes all files that are read through it.
type fingerprint struct{ hash hash.Hash }

func (f fingerprint) read(path string) ([]byte, error) {
	raw, err := secretfile.Read(path)
	fmt.Fprintf(f.hash, "%q %d %v\n", path, len(raw), err)
	f.hash.Write(raw)
	return raw, err
}

func (f fingerprint) sum() (sum [sha256.Size]byte) {
	f.hash.Sum(sum[:0])
	return sum
}

// logError logs an error once, and logs once that the file is valid again.
func (w *Watcher) logError(err error) {
	if err != nil {
		w.log.Error("secrets not reloaded: correct the companies file; the companies concerned keep their current secrets",
			zap.String("file", w.path), zap.Error(err))
	} else if w.failing {
		w.log.Info("the companies file is valid again", zap.String("file", w.path))
	}
	w.failing = err != nil
}

func (w *Watcher) apply(p parsed) {
	for id, reloaded := range p.set {
		if w.set[id] == nil {
			w.log.Warn("new company: restart Tieback to connect it", zap.Int64("company", id))
			continue
		}
		w.rotate(w.set[id], reloaded)
	}
	for id := range w.set {
		if p.set[id] == nil && !p.invalid[id] && !p.invalid[0] {
			w.log.Warn("company removed from the companies file but still served: restart Tieback to disconnect it", zap.Int64("company", id))
		}
	}
}

// rotate applies the secrets of a reloaded company, and logs the changes.
func (w *Watcher) rotate(c, reloaded *Company) {
	if fields := c.needsRestart(reloaded); fields != nil {
		w.log.Warn("setting changed: restart Tieback to apply it", zap.Int64("company", c.ID), zap.Strings("fields", fields))
	}
	if fields := c.replaceSecrets(reloaded); fields != nil {
		w.log.Info("secrets rotated", zap.Int64("company", c.ID), zap.Strings("fields", fields))
	}
	if c.Client.Name != reloaded.Client.Name {
		return
	}
	if fields := c.Client.replaceCredentials(reloaded.Client); fields != nil { // the new credentials are used at the next login
		w.log.Info("credentials changed in the companies file", zap.Stringer("of", c.Client), zap.Strings("fields", fields))
	}
}

// needsRestart returns the names of the changed fields that take effect only after a restart.
func (c *Company) needsRestart(reloaded *Company) (fields []string) {
	sameClient := c.Client.Name == reloaded.Client.Name
	for name, changed := range map[string]bool{
		"name": c.Name != reloaded.Name, "connector.driver": c.Driver != reloaded.Driver,
		"standard_cost_code_list_id": c.StandardCostCodeListID != reloaded.StandardCostCodeListID, "metadata_file": c.MetadataFile != reloaded.MetadataFile,
		"webhook_namespace": c.WebhookNamespace != reloaded.WebhookNamespace, "since": !c.Since.Equal(reloaded.Since),
		"time_zone": c.Zone.String() != reloaded.Zone.String(), "resets": c.RemoveOnReset != reloaded.RemoveOnReset,
		"client": !sameClient, "client.api_url": sameClient && c.Client.APIURL != reloaded.Client.APIURL, "client.login_url": sameClient && c.Client.LoginURL != reloaded.Client.LoginURL,
	} {
		if changed {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return fields
}

// replaceSecrets replaces the secrets at once, and returns the names of the changed fields. If the driver
// changed, it keeps the old settings, because the new ones are for the new driver, which needs a restart.
func (c *Company) replaceSecrets(reloaded *Company) (fields []string) {
	old, next := c.current(), *reloaded.current()
	if c.Driver != reloaded.Driver {
		next.settings = old.settings
	}
	if !slices.Equal(old.tokens, next.tokens) {
		fields = append(fields, "webhook_tokens")
	}
	names := maps.Clone(old.settings)
	maps.Copy(names, next.settings)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, had := old.settings[name]
		is, has := next.settings[name]
		if was != is || had != has {
			fields = append(fields, "connector."+name)
		}
	}
	if fields != nil {
		c.secrets.Store(&next)
	}
	return fields
}
