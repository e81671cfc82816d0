package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Page is a part of a list. A search that looks for long returns a page with fewer rows than Limit, or none, and with a Next that
// continues where it stopped.
type Page struct {
	Rows     []Row
	Next     string    // Cursor of the next page; "": this is the last
	Searched time.Time // of such a page: all that arrived then or later were searched (of the state that FailedFirst is at); zero: Limit ended it
}

// ErrCursor is the error for a Cursor that no page returned.
var ErrCursor = errors.New("the cursor is not one of a page: begin with the first page")

// ErrNotFound is the error for a request that the index does not have.
var ErrNotFound = errors.New("the index has no such request")

// Search returns a page of requests. Each word of the text finds the words that begin with it, in any case, with or without
// accents and in any order. A number is found whole, or by its beginning of four and more digits if few numbers begin so; an
// id, by the whole of it. Other characters separate words. A text without any word finds nothing.
func (x *Index) Search(ctx context.Context, q Query) (Page, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = 50
	}
	limit = min(limit, maxLimit)
	passes := q.passes()
	pass, from, err := q.position(len(passes))
	if err != nil {
		return Page{}, err
	}
	var page Page
	now := time.Now()
	err = x.reading(func(db *sql.DB) error {
		facets, err := loadFacets(ctx, db)
		if err != nil {
			return err
		}
		terms, possible, err := q.terms(ctx, db, facets)
		if err != nil || !possible {
			return err
		}
		begin, end, err := q.span(ctx, db)
		if err != nil {
			return err
		}
		smallest := max((end-begin+windows-1)/windows, 1)
		window := smallest
		for ; pass < len(passes); pass, from = pass+1, math.MaxInt64 {
			match, possible := terms.withStates(facets, passes[pass])
			if !possible {
				continue
			}
			for high := min(from, end); high > begin; {
				low, began := begin, time.Now()
				if len(match) > 0 {
					low = max(begin, high-window)
				}
				all, err := list(ctx, db, match, low, high, limit+1-len(page.Rows))
				if err != nil {
					return err
				}
				for _, e := range all {
					if len(page.Rows) == limit {
						page.Next = nextCursor(pass, from)
						return nil
					}
					r, _ := x.row(e, now)
					page.Rows, from = append(page.Rows, r), e.id
				}
				left := x.searchTime - time.Since(now)
				factor := min(growth, left.Seconds()/2/max(time.Since(began), time.Microsecond).Seconds()) // the next part may be denser
				window = min(max(smallest, int64(float64(window)*factor)), end-begin)
				if high = low; high > begin && left <= x.searchTime/8 {
					page.Next, page.Searched = nextCursor(pass, high), timeOf(high)
					return nil
				}
			}
		}
		return nil
	})
	return page, err
}

// A search with words or filters reads the requests of a part of the time at once, as many as it can in half of the time that is
// left, and ends at about Index.searchTime. So words that many requests have, but none has all of, do not keep it for long.
const (
	windows    = 64 // the first and the smallest part of the time
	growth     = 16
	searchTime = 40 * time.Millisecond
)

func nextCursor(pass int, before int64) string {
	return fmt.Sprintf("%d-%s", pass, strconv.FormatInt(before, 36))
}

// span returns the ids between which a query's requests are, from begin to before end.
func (q Query) span(ctx context.Context, db *sql.DB) (begin, end int64, err error) {
	if err := db.QueryRowContext(ctx, "SELECT coalesce((SELECT min(id) FROM requests), 0), coalesce((SELECT max(id) FROM requests), 0) + 1").Scan(&begin, &end); err != nil {
		return 0, 0, err
	}
	if !q.Since.IsZero() {
		begin = max(begin, idAt(q.Since))
	}
	if !q.Until.IsZero() {
		end = min(end, idAt(q.Until))
	}
	return begin, end, nil
}

// maxLimit is the highest Limit of a page.
const maxLimit = 1000

// position returns the pass and the id before which the page begins.
func (q Query) position(passes int) (pass int, from int64, err error) {
	if q.Cursor == "" {
		return 0, math.MaxInt64, nil
	}
	first, id, _ := strings.Cut(q.Cursor, "-")
	pass, errPass := strconv.Atoi(first)
	from, errID := strconv.ParseInt(id, 36, 64)
	if errPass != nil || errID != nil || pass < 0 || pass >= passes {
		return 0, 0, ErrCursor
	}
	return pass, from, nil
}

// list returns up to limit entries from one id to before another, the newest first.
func list(ctx context.Context, db *sql.DB, match conjunction, low, high int64, limit int) ([]*entry, error) {
	if len(match) == 0 {
		return entries(ctx, db, "SELECT "+entryColumns+" FROM requests WHERE id >= ? AND id < ? AND state >= 0 ORDER BY id DESC LIMIT ?", low, high, limit)
	}
	return entries(ctx, db, "SELECT "+entryColumns+" FROM search JOIN requests ON id = search.rowid WHERE search MATCH ? AND search.rowid >= ? AND search.rowid < ? "+
		"ORDER BY search.rowid DESC LIMIT ?", match.String(), low, high, limit)
}

func entries(ctx context.Context, db querier, query string, args ...any) (all []*entry, err error) {
	err = eachRow(ctx, db, query, func(scan func(...any) error) error {
		e, err := scanEntry(scan)
		all = append(all, e)
		return err
	}, args...)
	return all, err
}

// Get returns a request of a company. The error is ErrNotFound if the index does not have it.
func (x *Index) Get(ctx context.Context, company, request int64) (Entry, error) {
	var out Entry
	err := x.reading(func(db *sql.DB) error {
		all, err := entries(ctx, db, "SELECT "+entryColumns+" FROM requests WHERE request = ? AND company = ? AND state >= 0", request, company)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return ErrNotFound
		}
		out.Row, out.Timeline = x.row(all[0], time.Now())
		out.Messages = storedAll(all[0].messages)
		return nil
	})
	return out, err
}

// maxFound is how many requests Find returns.
const maxFound = 20

// Find returns up to 20 requests that a text may mean: those with this request id, before those that Search finds by it, the
// newest first. It searches all of the index, however long it takes. companies are those that the caller may see; nil: all.
func (x *Index) Find(ctx context.Context, companies []int64, text string) ([]Row, error) {
	var rows []Row
	if id, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
		err := x.reading(func(db *sql.DB) error {
			all, err := entries(ctx, db, "SELECT "+entryColumns+" FROM requests WHERE request = ? AND state >= 0 ORDER BY id DESC", id)
			for _, e := range all {
				if companies == nil || slices.Contains(companies, e.company) {
					r, _ := x.row(e, time.Now())
					rows = append(rows, r)
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	same := len(rows)
	for q := (Query{Companies: companies, Text: text, Limit: maxFound}); ; {
		page, err := x.Search(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Rows {
			if !slices.ContainsFunc(rows[:same], func(s Row) bool { return s.Company == r.Company && s.Request == r.Request }) {
				rows = append(rows, r)
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" || len(rows) >= maxFound {
			return rows[:min(len(rows), maxFound)], nil
		}
	}
}
