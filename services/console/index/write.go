package index

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/request"
)

// entry is a row of the table requests.
type entry struct {
	id               int64 // 0: it is new
	company, request int64
	state            int // index of States; -1: none
	recheck          int64
	content
	messages []message

	was     int    // the state in the file; -1: none
	terms   string // in the search table
	written string // the terms in the file
}

// judge derives state, recheck and terms from the messages, as of now.
func (e *entry) judge(x *Index, w *writer, now time.Time) error {
	t, v := x.verdict(e, now)
	e.state = stateOf(t, v)
	e.recheck = recheckAt(t, v, now, time.Duration(x.kept.Load()))
	if e.state < 0 {
		e.terms = ""
		return nil
	}
	var text words
	for _, name := range facetsOf(e, t) {
		f, err := w.facet(name)
		if err != nil {
			return err
		}
		text.term(f)
	}
	text.addTimeline(t)
	e.terms = text.String() + " " + e.words
	return nil
}

// verdict returns what package request says of an entry. Procore is not asked.
func (x *Index) verdict(e *entry, now time.Time) (*request.Timeline, request.Verdict) {
	t := request.TimelineOf(e.request, storedAll(e.messages), time.Duration(x.kept.Load()))
	return t, t.Verdict(x.o.Rules(e.company), request.ProcoreLists{}, now)
}

// recheckAt returns when the state may change without a message, in Unix ms; 0: it does not.
func recheckAt(t *request.Timeline, v request.Verdict, now time.Time, kept time.Duration) int64 {
	const again = 10 * time.Second
	var at time.Time
	if d := t.OpenDeadLetter(); d != nil && d.State == request.StateInterrupted && kept > 0 {
		at = d.Resolutions[len(d.Resolutions)-1].At.AsTime().Add(kept) // then its replay counts as published
	}
	last := t.Last()
	switch {
	case v.Class == request.InProgress && !v.Due.IsZero(), last != nil && last.DeadLettered && len(t.DeadLetters) == 0 && now.Sub(last.At) < 5*time.Minute:
		// Overdue or Lost is due a moment after Due, or after the report.
		soon := now.Add(again)
		if v.Due.After(soon) {
			soon = v.Due
		}
		if at.IsZero() || soon.Before(at) {
			at = soon
		}
	}
	if at.IsZero() {
		return 0
	}
	return max(at.UnixMilli(), 1)
}

func facetsOf(e *entry, t *request.Timeline) []string {
	category := bus.For(bus.Event, t.Type, 0, 0).Category
	return []string{companyFacet(e.company), typeFacet(t.Type), categoryFacet(category), stateFacet(e.state)}
}

func companyFacet(c int64) string               { return fmt.Sprint("company:", c) }
func typeFacet(t string) string                 { return "type:" + t }
func categoryFacet(c catalogue.Category) string { return "category:" + string(c) }
func stateFacet(rank int) string                { return fmt.Sprint("state:", rank) }

// facetRune returns the term of a facet: a character of a private use area.
func facetRune(n int64) string { return string(rune(0xF0000 + n)) }

// maxFacets is how many characters the area has.
const maxFacets = 0xFFFD

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

const entryColumns = "id, company, request, state, recheck, record, amount, words, history"

// scanEntry reads entryColumns.
func scanEntry(scan func(...any) error) (*entry, error) {
	e := &entry{}
	var history []byte
	if err := scan(&e.id, &e.company, &e.request, &e.state, &e.recheck, &e.record, &e.amount, &e.words, &history); err != nil {
		return nil, err
	}
	e.was = e.state
	var err error
	e.messages, err = decode(history, e.company, e.request)
	return e, err
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
		if byRequest[k] == nil {
			order = append(order, k)
		}
		byRequest[k] = append(byRequest[k], m)
	}
	find, err := w.tx.PrepareContext(ctx, "SELECT "+entryColumns+" FROM requests WHERE request = ? AND company = ?")
	if err != nil {
		return nil, err
	}
	var changed []*entry
	for _, k := range order {
		e := &entry{company: k.company, request: k.request, state: -1, was: -1}
		if k.request <= w.newest[k.company] {
			found, err := scanEntry(find.QueryRowContext(ctx, k.request, k.company).Scan)
			switch {
			case errors.Is(err, sql.ErrNoRows):
			case err != nil:
				return nil, err
			default:
				e = found
				if err := e.judge(x, w, now); err != nil {
					return nil, err
				}
				e.written = e.terms
			}
		}
		var added []message
		if e.messages, added = merge(e.messages, byRequest[k]); len(added) == 0 {
			continue
		}
		if e.id == 0 {
			if e.id, err = w.newID(ctx, added); err != nil {
				return nil, err
			}
			w.newest[k.company] = max(w.newest[k.company], k.request)
			w.count(added[0].company, timeOf(e.id), now, 0)
		}
		for _, m := range added {
			if m.content.words != "" {
				e.content = m.content
			}
			if r, ok := reported(m); ok {
				w.count(m.company, m.at, now, 1)
				if r.Failed() {
					w.count(m.company, m.at, now, 2)
				}
			}
		}
		if err := e.judge(x, w, now); err != nil {
			return nil, err
		}
		changed = append(changed, e)
	}
	return changed, nil
}

// reported returns the report of a closed message, unless it left the request alone.
func reported(m message) (request.Report, bool) {
	if m.kind != bus.Closed {
		return request.Report{}, false
	}
	r, ok := request.ParseReport(m.stored())
	return r, ok && r.SkipReason == ""
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
		ON CONFLICT (request, company) DO UPDATE SET state = ?4, recheck = ?5, record = ?6, amount = ?7, words = ?8, history = ?9`)
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
		if _, err := row.ExecContext(ctx, e.id, e.company, e.request, e.state, e.recheck, e.record, e.amount, e.words, encode(e.messages)); err != nil {
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

// atOnce is how many rows a transaction of recheck and Purge looks at.
const atOnce = 1000

// recheck judges the requests again whose state may have changed with time.
func (x *Index) recheck(ctx context.Context, now time.Time) error {
	for more := true; more; {
		err := x.rewrite(ctx, "SELECT "+entryColumns+" FROM requests WHERE recheck BETWEEN 1 AND ? ORDER BY recheck LIMIT ?", []any{now.UnixMilli(), atOnce},
			func(all []*entry) ([]*entry, error) {
				more = len(all) == atOnce
				for _, e := range all {
					if err := e.judge(x, &x.writer, now); err != nil {
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
	after := int64(-1)
	for more := true; more; {
		err := x.rewrite(ctx, "SELECT "+entryColumns+" FROM requests WHERE id > ? AND id < ? ORDER BY id LIMIT ?", []any{after, idAt(before), atOnce},
			func(all []*entry) ([]*entry, error) {
				if more = len(all) == atOnce; more {
					after = all[len(all)-1].id
				}
				return slices.DeleteFunc(all, func(e *entry) bool {
					t, _ := x.verdict(e, before)
					return t.OpenDeadLetter() != nil || slices.ContainsFunc(e.messages, func(m message) bool { return !m.at.Before(before) })
				}), nil
			}, (*writer).remove)
		if err != nil {
			return err
		}
	}
	return nil
}

// rewrite reads entries in a transaction, and writes those that pick returns.
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
