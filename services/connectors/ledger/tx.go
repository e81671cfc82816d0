package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/tieback/tieback/pkg/fault"
)

var errBad = driver.ErrBadConn

// tx is a write transaction. Only the goroutine of the writer uses it. It is exclusive (BEGIN IMMEDIATE), so the counters
// are read once and written once.
type tx struct {
	w        *writer
	counters map[string]int64
	dirty    bool
	before   int64 // total changes of the connection when it began
}

// commits is the name of the counter of transactions that changed something.
const commits = "commit"

// stmt returns a prepared statement, which is cached for the connection.
func (t *tx) stmt(query string) (*sql.Stmt, error) {
	if s := t.w.stmts[query]; s != nil {
		return s, nil
	}
	s, err := t.w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("%w in %q", err, query)
	}
	t.w.stmts[query] = s
	return s, nil
}

func (t *tx) exec(query string, args ...any) error {
	_, err := t.insert(query, args...)
	return err
}

// insert executes a statement and returns the id of the new row.
func (t *tx) insert(query string, args ...any) (int64, error) {
	s, err := t.stmt(query)
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// get scans one row; found is false if there is none.
func (t *tx) get(dest []any, query string, args ...any) (found bool, err error) {
	s, err := t.stmt(query)
	if err != nil {
		return false, err
	}
	err = s.QueryRowContext(context.Background(), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// each calls scan for each row.
func (t *tx) each(scan func(*sql.Rows) error, query string, args ...any) error {
	s, err := t.stmt(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// savepoint runs the write of one caller. A refusal rolls back this write only; any other error (broken) ends the whole
// transaction.
func (t *tx) savepoint(run func(*tx) error) (refused, broken error) {
	if err := t.exec("SAVEPOINT one"); err != nil {
		return nil, err
	}
	err := run(t)
	if err == nil {
		return nil, t.exec("RELEASE one")
	}
	if fault.ClassOf(err) != fault.Permanent {
		return nil, err
	}
	if undo := t.exec("ROLLBACK TO one"); undo != nil {
		return nil, undo
	}
	return err, t.exec("RELEASE one")
}

// next increments a counter: "seq" numbers all changes, the prefix of an entity its records. A number may be skipped, but
// is never used twice.
func (t *tx) next(name string) int64 {
	t.counters[name]++
	t.dirty = true
	return t.counters[name]
}

func (t *tx) loadCounters() error {
	t.counters = map[string]int64{}
	return t.each(func(r *sql.Rows) error {
		var name string
		var n int64
		err := r.Scan(&name, &n)
		t.counters[name] = n
		return err
	}, "SELECT name, n FROM counters")
}

// saveCounters writes the counters, as the last step before COMMIT. It counts the transaction if it changed anything.
func (t *tx) saveCounters() error {
	after, err := t.changes()
	if err != nil {
		return err
	}
	if !t.dirty && after == t.before {
		return nil
	}
	t.next(commits)
	for name, n := range t.counters {
		if err := t.exec(setCounter, name, n); err != nil {
			return err
		}
	}
	return nil
}

const setCounter = "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = excluded.n"

// changes returns the number of rows that the connection has changed, including those rolled back.
func (t *tx) changes() (n int64, err error) {
	_, err = t.get([]any{&n}, "SELECT total_changes()")
	return n, err
}
