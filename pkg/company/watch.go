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

// Watcher takes up secrets that are rotated in the companies file, or in a file that it names,
// while the process runs. What a look does:
//
//	as at the last look that did something    nothing
//	other than at the last look               nothing yet: it may be half written
//	the same twice in a row                   each company whose entry is right takes its secrets from it
//
// Of a client's credentials that only says what the next login is made with: Procore may refuse them. See
// procore.Client.Renew.
//
// An entry with a mistake changes nothing for its company, a file that makes no sense nothing
// for any; it is logged once, with the field. What else changed is logged: a restart takes it up.
//
// The files' content is compared, not their times: Kubernetes swaps symbolic links.
type Watcher struct {
	path string
	set  Set
	log  *zap.Logger

	last, done [sha256.Size]byte // what the last look saw; what was dealt with
	failing    bool
}

// NewWatcher makes a watcher of the companies file at path, for the companies loaded from it.
func NewWatcher(path string, set Set, log *zap.Logger) *Watcher {
	return &Watcher{path: path, set: set, log: log}
}

// Poll reads all files once. Call it every few seconds, from one goroutine.
func (w *Watcher) Poll() {
	seen, sum := w.read()
	stands := sum == w.last
	w.last = sum
	if !stands || sum == w.done {
		return
	}
	w.done = sum
	w.tell(seen.err())
	if seen.unread == nil {
		w.take(seen)
	}
}

// read reads the companies file and all files that it names, and what identifies their content.
func (w *Watcher) read() (parsed, [sha256.Size]byte) {
	f := fingerprint{sha256.New()}
	raw, err := f.read(w.path)
	if err != nil {
		return parsed{unread: err}, f.sum()
	}
	seen := parse(raw, f.read)
	return seen, f.sum()
}

// fingerprint is of all files read through it.
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

// tell logs a mistake once, and once that it is gone.
func (w *Watcher) tell(err error) {
	if err != nil {
		w.log.Error("secrets not taken up: correct what the error names; until then the companies concerned keep the secrets they have",
			zap.String("file", w.path), zap.Error(err))
	} else if w.failing {
		w.log.Info("the companies file is in order again", zap.String("file", w.path))
	}
	w.failing = err != nil
}

func (w *Watcher) take(seen parsed) {
	for id, now := range seen.set {
		if w.set[id] == nil {
			w.log.Warn("a new company: restart Tieback to connect it", zap.Int64("company", id))
			continue
		}
		w.rotate(w.set[id], now)
	}
	for id := range w.set {
		if seen.set[id] == nil && !seen.unfit[id] && !seen.unfit[0] {
			w.log.Warn("a company is gone from the companies file but goes on being served: restart Tieback to disconnect it", zap.Int64("company", id))
		}
	}
}

func (w *Watcher) rotate(c, now *Company) {
	if fields := c.differs(now); fields != nil {
		w.log.Warn("this changes with a restart of Tieback only", zap.Int64("company", c.ID), zap.Strings("fields", fields))
	}
	if fields := c.take(now); fields != nil {
		w.log.Info("secrets rotated", zap.Int64("company", c.ID), zap.Strings("fields", fields))
	}
	if c.Client.Name != now.Client.Name {
		return
	}
	if fields := c.Client.take(now.Client); fields != nil { // Procore has not taken them yet
		w.log.Info("other credentials in the companies file", zap.Stringer("of", c.Client), zap.Strings("fields", fields))
	}
}

// differs names what differs of that which stays for as long as the process runs.
func (c *Company) differs(now *Company) (fields []string) {
	for name, differs := range map[string]bool{
		"name": c.Name != now.Name, "connector.driver": c.Driver != now.Driver,
		"standard_cost_code_list_id": c.StandardCostCodeListID != now.StandardCostCodeListID, "metadata_file": c.MetadataFile != now.MetadataFile,
		"webhook_namespace": c.WebhookNamespace != now.WebhookNamespace, "since": !c.Since.Equal(now.Since), "time_zone": c.Zone.String() != now.Zone.String(), "resets": c.RemoveOnReset != now.RemoveOnReset,
	} {
		if differs {
			fields = append(fields, name)
		}
	}
	fields = append(fields, c.Client.differs(now.Client)...)
	slices.Sort(fields)
	return fields
}

// take replaces c's secrets by those of now, all at once, and names what changed. The settings
// of another driver stay away.
func (c *Company) take(now *Company) (fields []string) {
	old, next := c.now(), *now.now()
	if c.Driver != now.Driver {
		next.settings = old.settings
	}
	if !slices.Equal(old.tokens, next.tokens) {
		fields = append(fields, "webhook_tokens")
	}
	fields = append(fields, changed(old.settings, next.settings)...)
	if fields != nil {
		c.secrets.Store(&next)
	}
	return fields
}

// changed names the settings that came, went or have another value.
func changed(old, next map[string]string) (fields []string) {
	all := maps.Clone(old)
	maps.Copy(all, next)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		was, had := old[name]
		is, has := next[name]
		if was != is || had != has {
			fields = append(fields, "connector."+name)
		}
	}
	return fields
}
