package index

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/catalogue"
)

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
	all := tokens(clip(q.Text))
	for _, t := range slices.Compact(all) {
		if c, possible, err = withWord(ctx, db, c, t); err != nil || !possible {
			return nil, false, err
		}
	}
	return c, len(all) > 0, nil
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

func companyFacet(c int64) string               { return "company:" + strconv.FormatInt(c, 10) }
func typeFacet(t string) string                 { return "type:" + t }
func categoryFacet(c catalogue.Category) string { return "category:" + string(c) }
func stateFacet(rank int) string                { return "state:" + strconv.Itoa(rank) }

// facetRune returns the term of a facet: a character of a private use area.
func facetRune(n int64) string { return string(rune(0xF0000 + n)) }

// maxFacets is how many characters the area has.
const maxFacets = 0xFFFD

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
