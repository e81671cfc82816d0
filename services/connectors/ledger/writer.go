package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// groupMax is how many writes share one transaction at most.
const groupMax = 256

// op is one caller's write. run may be called again in a transaction of its own when a
// group falls apart, so it must set its results afresh.
type op struct {
	run   func(*tx) error
	err   error
	taken atomic.Bool // by the writer, or by a caller who gave up
	done  chan struct{}
}

// writer owns the one connection that writes. It takes all waiting writes at once, runs each
// under a savepoint and commits them together: a lone write commits at once, and while a
// commit waits for the disk the next group gathers.
type writer struct {
	db   *sql.DB
	mark *mark    // gets each transaction before its callers are answered
	ops  chan *op // unbuffered: whoever is blocked on it has written nothing
	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup
	err  error // of closing

	conn  *sql.Conn // of the goroutine alone, like stmts
	stmts map[string]*sql.Stmt

	marked int64 // the last commit that is known to be in the mark
}

func startWriter(db *sql.DB, m *mark) *writer {
	w := &writer{db: db, mark: m, ops: make(chan *op), stop: make(chan struct{})}
	w.wg.Go(w.loop)
	return w
}

// Stop ends the goroutine after the group in hand and closes the database; twice is harmless.
func (w *writer) Stop() error {
	w.once.Do(func() {
		close(w.stop)
		w.wg.Wait()
		w.err = errors.Join(w.drop(), w.db.Close())
	})
	return w.err
}

// do runs a write and answers when it is on disk or known not to be. A context that ends
// before the write began gives the context's error; after that the outcome is awaited.
func (w *writer) do(ctx context.Context, run func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return unwritten(err)
	}
	o := &op{run: run, done: make(chan struct{})}
	select {
	case w.ops <- o:
	case <-ctx.Done():
		return unwritten(ctx.Err())
	case <-w.stop:
		return unwritten(ErrClosed)
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		if o.taken.CompareAndSwap(false, true) {
			return unwritten(ctx.Err())
		}
		<-o.done
	}
	return o.err
}

// unwritten classes the error of a write that never began, so that nobody takes it for ambiguous.
func unwritten(err error) error { return fault.New(fault.Transient, err) }

func (w *writer) loop() {
	for {
		select {
		case <-w.stop:
			return
		case o := <-w.ops:
			w.commit(w.gather(o))
		}
	}
}

// gather takes what waits besides first, without waiting for more.
func (w *writer) gather(first *op) []*op {
	runtime.Gosched() // let callers whom the last commit woke come back
	group := []*op{first}
	for len(group) < groupMax {
		select {
		case o := <-w.ops:
			group = append(group, o)
		default:
			return group
		}
	}
	return group
}

// commit settles every op of the group. When one of them breaks the transaction (not: is
// refused), each is tried alone, so that it hurts nobody else.
func (w *writer) commit(group []*op) {
	var live []*op
	for _, o := range group {
		if o.taken.CompareAndSwap(false, true) {
			live = append(live, o)
		}
		defer close(o.done)
	}
	if len(live) == 0 {
		return
	}
	if w.transact(live) || len(live) == 1 {
		return
	}
	for _, o := range live {
		w.transact([]*op{o})
	}
}

// transact runs ops in one transaction and sets their errors. It is not settled if an op
// broke the transaction: none is booked, and the others deserve another try. A transaction
// that can't begin (the file is busy), whose COMMIT fails or that can't be marked is settled: the errors say so.
func (w *writer) transact(ops []*op) (settled bool) {
	t, err := w.begin()
	if err != nil {
		w.abandon(t, ops, classed(err))
		return true
	}
	for _, o := range ops {
		if o.err, err = t.savepoint(o.run); err != nil {
			w.abandon(t, ops, classed(err))
			return false
		}
	}
	if err := t.saveCounters(); err != nil {
		w.abandon(t, ops, classed(err))
	} else if err := t.exec("COMMIT"); err != nil {
		w.abandon(t, ops, fault.New(fault.Ambiguous, fmt.Errorf("ledger: commit: %w", err)))
	} else if err := w.confirm(t); err != nil {
		w.abandon(nil, ops, fault.New(fault.Ambiguous, fmt.Errorf("ledger: booked, but the mark that proves it can't be written: %w", err)))
	}
	return true
}

// confirm marks how far the books have come, unless that is known. It also marks what another process has
// committed and not marked yet: an answer of this transaction may build on it.
func (w *writer) confirm(t *tx) error {
	p := point{commit: t.counters[commits], seq: t.counters["seq"], at: time.Now()}
	if p.commit == w.marked {
		return nil
	}
	if err := w.mark.write(p); err != nil {
		return err
	}
	w.marked = p.commit
	return nil
}

// abandon rolls back, gives the connection up (a closed one holds no lock) and tells every op.
func (w *writer) abandon(t *tx, ops []*op, err error) {
	if t != nil {
		_ = t.exec("ROLLBACK") // fails where SQLite rolled back by itself
	}
	_ = w.drop()
	for _, o := range ops {
		o.err = err
	}
}

func (w *writer) begin() (*tx, error) {
	if w.conn == nil {
		conn, err := w.db.Conn(context.Background())
		if err != nil {
			return nil, err
		}
		w.conn, w.stmts = conn, map[string]*sql.Stmt{}
	}
	t := &tx{w: w}
	var err error
	if err = t.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	if err := t.loadCounters(); err != nil {
		return t, err
	}
	t.before, err = t.changes()
	return t, err
}

func (w *writer) drop() error {
	if w.conn == nil {
		return nil
	}
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	// ErrBadConn makes database/sql close the connection instead of keeping it.
	_ = w.conn.Raw(func(any) error { return errBad })
	w.conn, w.stmts = nil, nil
	return errors.Join(errs...)
}
