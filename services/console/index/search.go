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

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/request"
)

// State says in one word what a request needs. It is derived from package request's Class.
type State string

// The states.
const (
	StateAttention State = "attention" // a person has to do something: overdue, unclosed, lost, or a dead letter is open
	StateFailed    State = "failed"    // reported to Procore as failed
	StateOpen      State = "open"      // at a stage, and not overdue
	StateOK        State = "ok"        // done
	StateIgnored   State = "ignored"   // not processed: created before the company's since, called off, or discarded
)

// States are all states, in the order of FailedFirst.
var States = []State{StateAttention, StateFailed, StateOpen, StateOK, StateIgnored}

// stateOf returns the index of the state; -1 if the messages do not make a request, such as a resolution alone.
func stateOf(t *request.Timeline, v request.Verdict) int {
	s := StateOK
	switch {
	case t.Empty():
		return -1
	case v.Class.NeedsAction(), t.OpenDeadLetter() != nil:
		s = StateAttention
	case v.Class == request.Failed, v.Class == request.Dead:
		s = StateFailed
	case v.Class == request.InProgress:
		s = StateOpen
	case v.Class == request.Older, v.Class == request.CalledOff, v.Class == request.Discarded:
		s = StateIgnored
	}
	return slices.Index(States, s)
}

// Row is a request as lists show it.
type Row struct {
	Company, Request int64
	Type             string // catalogue.Unknown if no message says it
	Category         catalogue.Category
	Record           string    // what it is about, such as: vendor "Acme"; "": not known
	Amount           string    // decimal; "": none
	Created          time.Time // the click, by Procore's clock; zero: not known
	Arrived          time.Time // when its first message was stored, to 10 µs
	Updated          time.Time // when its newest message was stored
	Closed           time.Time // when its end was last reported to Procore; zero: it was not
	State            State
	Class            request.Class
	Stage            string    // that has it; "": none
	WaitingFor       string    // what that stage works with: Procore, or the ERP; "": no stage has it
	Due              time.Time // when the stage should have finished; zero: it has no such time
	Why              string    // the reason, as package request words it; "": none
	Ended            string    // how it ended, likewise; "": it has not
	DeadLetter       uint64    // the newest that is unresolved; 0: none
}

// Entry is a request with all that the index has of it.
type Entry struct {
	Row
	Timeline *request.Timeline
	Messages []bus.Message // as request.Messages returns them, without payloads; see the package documentation
}

func (x *Index) row(e *entry, now time.Time) (Row, *request.Timeline) {
	t, v := x.verdict(e, now)
	r := Row{
		Company: e.company, Request: e.request, Type: t.Type, Category: bus.For(bus.Event, t.Type, 0, 0).Category,
		Record: e.record, Amount: e.amount, Created: t.Created, Arrived: timeOf(e.id),
		Class: v.Class, Stage: v.At.Name, Due: v.Due, Why: v.Why, Ended: v.EndText,
	}
	if n := stateOf(t, v); n >= 0 {
		r.State = States[n]
	}
	if d := t.OpenDeadLetter(); d != nil {
		r.DeadLetter = d.ID
	}
	for _, m := range e.messages {
		if m.at.After(r.Updated) {
			r.Updated = m.at
		}
	}
	if last := t.Last(); last != nil && last.SkipReason == "" {
		r.Closed = last.At
		if len(last.CloseOuts) > 0 && r.Record == "" {
			r.Record = last.CloseOuts[0].Record
		}
	}
	switch {
	case v.At.Name == "":
	case v.At.Kind == bus.Event:
		r.WaitingFor = "ERP"
	default:
		r.WaitingFor = "Procore"
	}
	return r, t
}

// Order is the order of a page.
type Order int

// The orders.
const (
	Newest      Order = iota // by Arrived, the newest first
	FailedFirst              // by States, and each by Arrived, the newest first
)

// Query selects requests. The zero value selects all, the newest first.
type Query struct {
	Companies  []int64 // that the caller may see; nil: all
	Types      []string
	Categories []catalogue.Category
	States     []State
	Since      time.Time // arrived then or later; zero: from the first
	Until      time.Time // arrived before; zero: to the last
	Text       string    // words, numbers and ids, all of which a request has; see Search
	Order      Order
	Limit      int    // of a page; 0: 50; at most 1,000
	Cursor     string // Page.Next of the page before; "": the first page
}

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
				factor := min(growth, left.Seconds()/max(time.Since(began), time.Microsecond).Seconds())
				window = min(max(smallest, int64(float64(window)*factor)), end-begin)
				if high = low; high > begin && left <= 0 {
					page.Next, page.Searched = nextCursor(pass, high), timeOf(high)
					return nil
				}
			}
		}
		return nil
	})
	return page, err
}

// A search with words or filters reads the requests of a part of the time at once, as many as it can in the time that is left,
// and ends after Index.searchTime. So words that many requests have, but none has all of, do not keep it for long.
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

// passes returns the states that are listed one after another; of a nil element, all.
func (q Query) passes() (all [][]State) {
	if q.Order != FailedFirst {
		return [][]State{q.States}
	}
	for _, s := range States {
		if len(q.States) == 0 || slices.Contains(q.States, s) {
			all = append(all, []State{s})
		}
	}
	return all
}

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

func loadFacets(ctx context.Context, db *sql.DB) (map[string]int64, error) {
	all := map[string]int64{}
	err := eachRow(ctx, db, "SELECT name, n FROM facets", func(scan func(...any) error) error {
		var name string
		var n int64
		err := scan(&name, &n)
		all[name] = n
		return err
	})
	return all, err
}

// conjunction is an expression of FTS5: all of its parts must match.
type conjunction []string

// either returns the conjunction with one more part, of which one term must match.
func (c conjunction) either(terms ...string) conjunction {
	return append(slices.Clip(c), `("`+strings.Join(terms, `" OR "`)+`")`)
}

func (c conjunction) String() string { return strings.Join(c, " AND ") }

// anyFacet returns the conjunction with a part for filter values; false: no request has one of them. No value is no filter.
func anyFacet[T any](c conjunction, facets map[string]int64, name func(T) string, values []T) (conjunction, bool) {
	var terms []string
	for _, v := range values {
		if n, ok := facets[name(v)]; ok {
			terms = append(terms, facetRune(n))
		}
	}
	if terms == nil {
		return c, len(values) == 0
	}
	return c.either(terms...), true
}

func (c conjunction) withStates(facets map[string]int64, states []State) (conjunction, bool) {
	return anyFacet(c, facets, func(s State) string { return stateFacet(slices.Index(States, s)) }, states)
}

// terms returns what a query's filters and words match, without the states; false: nothing.
func (q Query) terms(ctx context.Context, db *sql.DB, facets map[string]int64) (c conjunction, possible bool, err error) {
	if q.Companies != nil && len(q.Companies) == 0 {
		return nil, false, nil
	}
	if c, possible = anyFacet(c, facets, companyFacet, q.Companies); !possible {
		return nil, false, nil
	}
	if c, possible = anyFacet(c, facets, typeFacet, q.Types); !possible {
		return nil, false, nil
	}
	if c, possible = anyFacet(c, facets, categoryFacet, q.Categories); !possible {
		return nil, false, nil
	}
	if q.Text == "" {
		return c, true, nil
	}
	all := tokens(q.Text[:min(len(q.Text), maxText)], true)
	for _, t := range slices.Compact(all) {
		if c, possible, err = withWord(ctx, db, c, t); err != nil || !possible {
			return nil, false, err
		}
	}
	return c, len(all) > 0, nil
}

// maxText is how many bytes of a search text are read.
const maxText = 1000

// maxWords is how many words of the index one word of a search stands for at most.
const maxWords = 64

// withWord returns the conjunction with a part for a word of a search; false: the index has no such word.
func withWord(ctx context.Context, db *sql.DB, c conjunction, word string) (conjunction, bool, error) {
	n, number := len([]rune(word)), classOf(rune(word[0])) == digits
	switch {
	case n == 1 || number && n < 4:
		return c.either(word), true, nil
	case n < 4:
		return c.either(beginning + word), true, nil
	}
	// FTS5's own prefix query would read all rows of all words that begin so, before the first row of the page.
	next, err := db.PrepareContext(ctx, "SELECT term FROM terms WHERE term >= ? LIMIT 1")
	if err != nil {
		return c, false, err
	}
	defer func() { _ = next.Close() }()
	var all []string
	for from := word; ; {
		var term string
		err := next.QueryRowContext(ctx, from).Scan(&term)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return c, false, err
		}
		switch {
		case err != nil || !strings.HasPrefix(term, word):
			if all == nil {
				return c, false, nil
			}
			return c.either(all...), true, nil
		case len(all) == maxWords && number:
			return c.either(word), true, nil
		case len(all) == maxWords:
			return append(slices.Clip(c), `"`+word+`"*`), true, nil
		}
		all, from = append(all, term), term+"\x01"
	}
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

// Counts are totals of requests.
type Counts struct {
	States map[int64]map[State]int64 // by company
	Series []Minute                  // of all companies together, the last 60 minutes, the oldest first
}

// Minute is what happened in a minute of the broker's clock.
type Minute struct {
	At                       time.Time // its beginning
	Received, Closed, Failed int64     // requests that arrived; ends that were reported to Procore, and those of them as failed
}

// seriesLength is how long the series of Counts is.
const seriesLength = time.Hour

// Counts returns the totals of companies; nil: of all. After the index was built again, the series begins with the messages
// that the streams have.
func (x *Index) Counts(ctx context.Context, companies []int64) (Counts, error) {
	c := Counts{States: map[int64]map[State]int64{}}
	first := time.Now().UTC().Truncate(time.Minute).Add(time.Minute - seriesLength)
	for at := first; len(c.Series) < int(seriesLength/time.Minute); at = at.Add(time.Minute) {
		c.Series = append(c.Series, Minute{At: at})
	}
	hidden := func(company int64) bool { return companies != nil && !slices.Contains(companies, company) }
	err := x.reading(func(db *sql.DB) error {
		err := eachRow(ctx, db, "SELECT company, state, n FROM counts WHERE n > 0", func(scan func(...any) error) error {
			var company, n int64
			var state int
			if err := scan(&company, &state, &n); err != nil || hidden(company) {
				return err
			}
			if c.States[company] == nil {
				c.States[company] = map[State]int64{}
			}
			c.States[company][States[state]] = n
			return nil
		})
		if err != nil {
			return err
		}
		return eachRow(ctx, db, "SELECT minute, company, received, closed, failed FROM minutes WHERE minute >= ?", func(scan func(...any) error) error {
			var minute, company int64
			var m Minute
			if err := scan(&minute, &company, &m.Received, &m.Closed, &m.Failed); err != nil || hidden(company) {
				return err
			}
			if i := minute - first.Unix()/60; i < int64(len(c.Series)) {
				s := &c.Series[i]
				s.Received, s.Closed, s.Failed = s.Received+m.Received, s.Closed+m.Closed, s.Failed+m.Failed
			}
			return nil
		}, first.Unix()/60)
	})
	return c, err
}
