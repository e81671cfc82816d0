// Package ledger is the embedded reference ERP: a small double-entry ledger, one SQLite
// file a company, that implements connector.Driver for every entity.
//
// The way of a booking:
//
//	Put → writer (gathers what waits, at most 256) → BEGIN IMMEDIATE
//	        each under its own SAVEPOINT: check → record + lines → journal → key
//	      → COMMIT, one fsync for all → every caller gets its own answer
//
// What a record looks like lives in entity.go, which accounts it moves in journal.go,
// what it may refer to in refs.go. Nothing is held in memory that another process could
// make untrue: the CLI may work on the file while the pipeline runs.
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

// Ledger is a folder of companies' books. Its methods may be called concurrently.
type Ledger struct {
	dir string

	mu     sync.Mutex
	closed bool
	stores map[int64]*store
}

// Open makes a ledger of the folder dir; the folder is created when the first company opens.
func Open(dir string) *Ledger { return &Ledger{dir: dir, stores: map[int64]*store{}} }

// Path is the file of a company's books.
func (l *Ledger) Path(companyID int64) string {
	return filepath.Join(l.dir, fmt.Sprintf("ledger-%d.db", companyID))
}

// Company opens a company's books, creating the file if there is none. Opening a company
// twice shares one database handle; each Books is closed by whoever opened it, and the
// last one closes the handle.
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

// Opener opens companies' books for the pipeline. The ledger driver has one setting: currency, the
// company's own, an ISO code; without it the books keep the one that they have, at first USD.
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

// Close closes all books that are still open; twice is harmless.
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
