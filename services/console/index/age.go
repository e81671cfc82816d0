package index

import (
	"context"
	"database/sql"
	"slices"
	"time"
)

// atOnce is how many rows a transaction of recheck and Purge looks at.
const atOnce = 1000

// recheck judges the requests again whose state may have changed with time.
func (x *Index) recheck(ctx context.Context, now time.Time) error {
	for more := true; more; {
		err := x.rewrite(ctx, "SELECT "+entryColumns+" FROM requests WHERE recheck BETWEEN 1 AND ? ORDER BY recheck LIMIT ?", []any{now.UnixMilli(), atOnce},
			func(all []*entry) ([]*entry, error) {
				more = len(all) == atOnce
				for _, e := range all {
					if err := x.writer.set(e, x.judge(e, now)); err != nil {
						return nil, err
					}
					if e.state == e.was {
						e.written = e.terms
					}
				}
				return all, nil
			}, (*writer).put)
		if err != nil {
			return err
		}
	}
	return nil
}

// Purge deletes the requests whose newest message was stored before a time, unless one of their dead letters needs a person.
func (x *Index) Purge(ctx context.Context, before time.Time) error {
	for after := int64(-1); ; {
		var more bool
		var err error
		if after, more, err = x.purgeSome(ctx, before, after); err != nil || !more {
			return err
		}
	}
}

// purgeSome does one step of Purge: it looks at the next requests with a higher id than after. It returns the id after which the
// next step goes on, and whether there is one.
func (x *Index) purgeSome(ctx context.Context, before time.Time, after int64) (last int64, more bool, err error) {
	err = x.rewrite(ctx, "SELECT "+entryColumns+" FROM requests WHERE id > ? AND id < ? ORDER BY id LIMIT ?", []any{after, idAt(before), atOnce},
		func(all []*entry) ([]*entry, error) {
			if more = len(all) == atOnce; more {
				last = all[len(all)-1].id
			}
			return slices.DeleteFunc(all, func(e *entry) bool {
				t, _ := x.verdict(e, before)
				return t.OpenDeadLetter() != nil || slices.ContainsFunc(e.messages, func(m message) bool { return !m.at.Before(before) })
			}), nil
		}, (*writer).remove)
	return last, more, err
}

// rewrite reads entries in a transaction, and passes those that pick returns to write.
func (x *Index) rewrite(ctx context.Context, query string, args []any, pick func([]*entry) ([]*entry, error), write func(*writer, context.Context, []*entry) error) error {
	return x.transaction(ctx, func(tx *sql.Tx) error {
		all, err := entries(ctx, tx, query, args...)
		if err != nil {
			return err
		}
		w := &x.writer
		w.begin(tx)
		if all, err = pick(all); err != nil {
			return err
		}
		if err := write(w, ctx, all); err != nil {
			return err
		}
		return w.flush(ctx, time.Now())
	})
}

// remove deletes entries.
func (w *writer) remove(ctx context.Context, all []*entry) error {
	for _, e := range all {
		w.counts[countKey{e.company, e.was}]--
		for _, q := range []string{"DELETE FROM requests WHERE id = ?", "DELETE FROM search WHERE rowid = ?"} {
			if _, err := w.tx.ExecContext(ctx, q, e.id); err != nil {
				return err
			}
		}
	}
	return nil
}
