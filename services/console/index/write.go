package index

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
)

// writer is what the writing transaction remembers between batches. After a failed transaction it is loaded again.
type writer struct {
	tx     *sql.Tx
	facets map[string]int64
	newest map[int64]int64 // of each company the highest request: a higher one is new
	lastID int64           // the highest in the file
	ids    map[int64]bool  // that newID has returned in this transaction
	counts map[countKey]int64
	series map[minuteKey][3]int64 // received, closed, failed
}

type countKey struct {
	company int64
	state   int
}

type minuteKey struct{ minute, company int64 }

func (w *writer) load(ctx context.Context, db *sql.DB) (err error) {
	if w.facets, err = loadFacets(ctx, db); err != nil {
		return err
	}
	w.newest = map[int64]int64{}
	if err := eachRow(ctx, db, "SELECT company, max(request) FROM requests INDEXED BY requests_request GROUP BY company", func(scan func(...any) error) error {
		var company, newest int64
		err := scan(&company, &newest)
		w.newest[company] = newest
		return err
	}); err != nil {
		return err
	}
	return db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM requests").Scan(&w.lastID)
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// eachRow calls each with the function that scans the row, for each row of a query.
func eachRow(ctx context.Context, db querier, query string, each func(scan func(...any) error) error, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// begin prepares for a transaction.
func (w *writer) begin(tx *sql.Tx) {
	w.tx, w.counts, w.series, w.ids = tx, map[countKey]int64{}, map[minuteKey][3]int64{}, map[int64]bool{}
}

func (w *writer) facet(name string) (string, error) {
	n, known := w.facets[name]
	if !known {
		n = int64(len(w.facets))
		if n > maxFacets {
			return "", fmt.Errorf("more than %d companies and types", maxFacets)
		}
		if _, err := w.tx.Exec("INSERT INTO facets (n, name) VALUES (?, ?)", n, name); err != nil {
			return "", err
		}
		w.facets[name] = n
	}
	return facetRune(n), nil
}

// apply writes a batch and the cursors behind it.
func (x *Index) apply(ctx context.Context, b batch) error {
	return x.transaction(ctx, func(tx *sql.Tx) error {
		w := &x.writer
		w.begin(tx)
		now := time.Now()
		changed, err := x.collect(ctx, b.messages, now)
		if err != nil {
			return err
		}
		if err := w.put(ctx, changed); err != nil {
			return err
		}
		for k, c := range b.cursors {
			if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO streams (kind, created, next, at, kept) VALUES (?, ?, ?, ?, ?)",
				string(k), c.created.UnixNano(), int64(c.next), c.at.UnixNano(), int64(c.kept)); err != nil { //nolint:gosec // a sequence
				return err
			}
		}
		return w.flush(ctx, now)
	})
}

// usual is how many messages a request usually has.
const usual = 4

// collect returns the entries that messages change.
func (x *Index) collect(ctx context.Context, messages []message, now time.Time) ([]*entry, error) {
	type key struct{ company, request int64 }
	w := &x.writer
	byRequest := map[key][]message{}
	var order []key
	for _, m := range messages {
		if m.company == 0 && m.request == 0 {
			continue
		}
		k := key{m.company, m.request}
		some, known := byRequest[k]
		if !known {
			order, some = append(order, k), make([]message, 0, usual)
		}
		byRequest[k] = append(some, m)
	}
	find, err := w.tx.PrepareContext(ctx, "SELECT "+entryColumns+" FROM requests WHERE request = ? AND company = ?")
	if err != nil {
		return nil, err
	}
	var all []*entry
	for _, k := range order {
		e := &entry{company: k.company, request: k.request, state: -1, was: -1}
		if k.request <= w.newest[k.company] {
			found, err := scanEntry(find.QueryRowContext(ctx, k.request, k.company).Scan)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return nil, err
			}
			if err == nil {
				e = found
			}
		}
		all = append(all, e)
	}
	type change struct {
		before, after judgment
		added         []message
	}
	changes := make([]change, len(all))
	concurrently(len(all), func(i int) {
		e, c := all[i], &changes[i]
		if e.id != 0 {
			c.before = x.judge(e, now)
		}
		e.messages, c.added = merge(e.messages, byRequest[key{e.company, e.request}])
		if len(c.added) == 0 {
			return
		}
		for _, m := range c.added {
			if m.content != nil {
				e.content = *m.content
			}
		}
		c.after = x.judge(e, now)
	})
	var changed []*entry
	for i, e := range all {
		c := changes[i]
		if len(c.added) == 0 {
			continue
		}
		if c.before.state == e.was { // otherwise time has changed the state, and the file has the terms of the former one
			if e.written, err = w.terms(c.before); err != nil {
				return nil, err
			}
		}
		if err := w.set(e, c.after); err != nil {
			return nil, err
		}
		if e.id == 0 {
			if e.id, err = w.newID(ctx, c.added); err != nil {
				return nil, err
			}
			w.newest[e.company] = max(w.newest[e.company], e.request)
			w.count(e.company, timeOf(e.id), now, 0)
		}
		for _, m := range c.added {
			w.countReport(m, now)
		}
		changed = append(changed, e)
	}
	return changed, nil
}

// concurrently calls f with each number below n, several at a time.
func concurrently(n int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 1+n/64) {
		all.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				f(int(i - 1))
			}
		})
	}
	all.Wait()
}

// countReport counts a closed message, unless it left the request alone.
func (w *writer) countReport(m message, now time.Time) {
	if m.kind != bus.Closed || now.Sub(m.at) > seriesLength {
		return
	}
	if r, ok := request.ParseReport(m.stored()); ok && r.SkipReason == "" {
		w.count(m.company, m.at, now, 1)
		if r.Failed() {
			w.count(m.company, m.at, now, 2)
		}
	}
}

// newID returns the id of a request with these first messages: the time of the oldest, or the next one that is free.
func (w *writer) newID(ctx context.Context, messages []message) (int64, error) {
	first := slices.MinFunc(messages, func(a, b message) int { return a.at.Compare(b.at) })
	for id := max(idAt(first.at), 1); ; id++ {
		taken := w.ids[id]
		if !taken && id <= w.lastID {
			if err := w.tx.QueryRowContext(ctx, "SELECT count(*) > 0 FROM requests WHERE id = ?", id).Scan(&taken); err != nil {
				return 0, err
			}
		}
		if !taken {
			w.ids[id] = true
			return id, nil
		}
	}
}

// count counts one in a column of the series: received, closed or failed. Only the last hour is kept.
func (w *writer) count(company int64, at, now time.Time, column int) {
	if now.Sub(at) > seriesLength {
		return
	}
	k := minuteKey{at.Unix() / 60, company}
	n := w.series[k]
	n[column]++
	w.series[k] = n
}

// put writes entries. FTS5 wants rows in the order of their ids.
func (w *writer) put(ctx context.Context, changed []*entry) error {
	if len(changed) == 0 {
		return nil
	}
	slices.SortFunc(changed, func(a, b *entry) int { return cmp.Compare(a.id, b.id) })
	row, err := w.tx.PrepareContext(ctx, `INSERT INTO requests (`+entryColumns+`) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
		ON CONFLICT (request, company) DO UPDATE SET state = ?4, recheck = ?5, record = ?6, amount = ?7, texts = ?8, history = ?9`)
	if err != nil {
		return err
	}
	remove, err := w.tx.PrepareContext(ctx, "DELETE FROM search WHERE rowid = ?")
	if err != nil {
		return err
	}
	insert, err := w.tx.PrepareContext(ctx, "INSERT INTO search (rowid, document) VALUES (?, ?)")
	if err != nil {
		return err
	}
	for _, e := range changed {
		if _, err := row.ExecContext(ctx, e.id, e.company, e.request, e.state, e.recheck, e.record, e.amount, e.texts, encode(e.messages)); err != nil {
			return err
		}
		w.counts[countKey{e.company, e.was}]--
		w.counts[countKey{e.company, e.state}]++
		if e.terms == e.written {
			continue
		}
		if e.was >= 0 {
			if _, err := remove.ExecContext(ctx, e.id); err != nil {
				return err
			}
		}
		if e.state >= 0 {
			if _, err := insert.ExecContext(ctx, e.id, e.terms); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes what was counted.
func (w *writer) flush(ctx context.Context, now time.Time) error {
	for id := range w.ids {
		w.lastID = max(w.lastID, id)
	}
	for k, n := range w.counts {
		if n == 0 || k.state < 0 {
			continue
		}
		if _, err := w.tx.ExecContext(ctx, "INSERT INTO counts (company, state, n) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET n = n + ?3", k.company, k.state, n); err != nil {
			return err
		}
	}
	for k, n := range w.series {
		if _, err := w.tx.ExecContext(ctx, `INSERT INTO minutes (minute, company, received, closed, failed) VALUES (?1, ?2, ?3, ?4, ?5)
			ON CONFLICT DO UPDATE SET received = received + ?3, closed = closed + ?4, failed = failed + ?5`, k.minute, k.company, n[0], n[1], n[2]); err != nil {
			return err
		}
	}
	_, err := w.tx.ExecContext(ctx, "DELETE FROM minutes WHERE minute < ?", now.Add(-2*seriesLength).Unix()/60)
	return err
}
