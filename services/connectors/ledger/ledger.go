// Package ledger is the embedded reference ERP: a small double-entry ledger with one SQLite file per company. It
// implements connector.Driver for every entity.
//
//	Put → writer (collects waiting writes, at most 256) → BEGIN IMMEDIATE
//	        each in its own SAVEPOINT: checks → record and lines → journal → key
//	      → COMMIT, with one fsync → each caller gets its own answer
//
// entity.go has the entities, journal.go the accounts that they move, refs.go their references. No state is cached, so
// the command line may change the file while the pipeline runs.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("the ledger is closed")

// Ledger is a folder with the books of companies. Its methods may be called concurrently.
type Ledger struct {
	dir string

	mu     sync.Mutex
	closed bool
	stores map[int64]*store
}

// Open returns the ledger in the folder dir, which is created with the first company.
func Open(dir string) *Ledger { return &Ledger{dir: dir, stores: map[int64]*store{}} }

// Path returns the path of a company's books.
func (l *Ledger) Path(companyID int64) string {
	return filepath.Join(l.dir, fmt.Sprintf("ledger-%d.db", companyID))
}

// Company opens a company's books, and creates the file if it does not exist. Books of the same company share one
// database handle. The caller closes each Books; the last Close closes the handle.
func (l *Ledger) Company(ctx context.Context, id int64) (*Books, error) {
	if id <= 0 {
		return nil, fault.Permanentf("company: %d is no company id; it must be a positive number.", id)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	s := l.stores[id]
	if s == nil {
		if err := os.MkdirAll(l.dir, 0o750); err != nil {
			return nil, fault.New(fault.Transient, fmt.Errorf("ledger: %w", err))
		}
		var err error
		if s, err = openStore(ctx, l.Path(id)); err != nil {
			return nil, err
		}
		l.stores[id] = s
	}
	s.users++
	return &Books{store: s, company: id, release: sync.OnceValue(func() error { return l.release(id, s) })}, nil
}

// Opener opens companies' books for the pipeline. Its only setting is currency, the company's own, an ISO code. Without
// it the books keep their currency; that of new books is USD.
func (l *Ledger) Opener() connector.Opener {
	return func(ctx context.Context, companyID int64, settings map[string]string) (connector.Driver, error) {
		for name := range settings {
			if name != "currency" {
				return nil, fault.Refused("connector."+name, "connector.%s: the ledger has no such setting; remove it.", name)
			}
		}
		b, err := l.Company(ctx, companyID)
		if currency, set := settings["currency"]; err == nil && set {
			if err = b.keepIn(ctx, currency); err != nil {
				return nil, errors.Join(err, b.Close())
			}
		}
		if err != nil {
			return nil, err
		}
		return b, nil
	}
}

func (l *Ledger) release(id int64, s *store) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.users--; s.users > 0 || l.stores[id] != s {
		return nil
	}
	delete(l.stores, id)
	return s.close()
}

// Close closes all books that are still open. Further calls have no effect.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	var errs []error
	for id, s := range l.stores {
		delete(l.stores, id)
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
