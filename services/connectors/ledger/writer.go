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

// groupMax is the maximum number of writes in one transaction.
const groupMax = 256

// op is the write of one caller. run may be called again in a separate transaction if that of its group failed, so it
// must set all its results.
type op struct {
	run   func(*tx) error
	err   error
	taken atomic.Bool // by the writer, or by a caller that gave up
	done  chan struct{}
}

// writer owns the only connection that writes. It takes all waiting writes, runs each in a savepoint and commits them
// together. A single write commits at once; while a commit waits for the disk, the next group forms.
type writer struct {
	db   *sql.DB
	mark *mark    // records each transaction before its callers are answered
	ops  chan *op // unbuffered: a caller that is blocked on it has written nothing
	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup
	err  error // of Stop

	conn  *sql.Conn // used by the goroutine only, like stmts
	stmts map[string]*sql.Stmt

	marked int64 // the last commit that is in the mark
}

func startWriter(db *sql.DB, m *mark) *writer {
	w := &writer{db: db, mark: m, ops: make(chan *op), stop: make(chan struct{})}
	w.wg.Go(w.loop)
	return w
}

// Stop ends the goroutine after the current group and closes the database. Further calls return the same error.
func (w *writer) Stop() error {
	w.once.Do(func() {
		close(w.stop)
		w.wg.Wait()
		w.err = errors.Join(w.drop(), w.db.Close())
	})
	return w.err
}

// do runs a write and returns after it is on disk or has failed. If the context ends before the write begins, do returns
// the error of the context; after that it waits for the result.
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

// unwritten classifies the error of a write that did not begin, so that it does not count as ambiguous.
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

// gather returns first and all other waiting writes.
func (w *writer) gather(first *op) []*op {
	runtime.Gosched() // let the callers of the last commit send their next writes
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

// commit sets the result of every op of the group. If one of them breaks the transaction, which a refusal does not, each
// is run in a transaction of its own.
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

// transact runs ops in one transaction and sets their errors. It returns false if an op broke the transaction: nothing is
// booked, and the others can be tried again. If the transaction can't begin, as the file is busy, or its COMMIT or its
// mark fails, transact returns true, and the ops have the error.
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
		w.abandon(nil, ops, fault.New(fault.Ambiguous, fmt.Errorf("ledger: booked, but the mark can't be written: %w", err)))
	}
	return true
}

// confirm records the transaction in the mark, unless it is there. It includes transactions of another process that are
// not recorded yet, as an answer of this transaction may depend on them.
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

// abandon rolls back, closes the connection, which releases its locks, and sets the error of every op.
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
