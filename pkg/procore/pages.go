package procore

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// Page is one page of a list: each item an object, its numbers json.Number.
type Page struct {
	Items   []map[string]any
	Total   int       // items of the whole list; 0: Procore did not say
	PerPage int       // items of a full page; 0: Procore did not say
	Last    bool      // there is no page after it
	Now     time.Time // when it was answered, by Procore's clock; by ours if it is not in the answer
}

// ReadPage reads the n-th page of a list, from 1, with one call. List reads a whole list. If n is 0, the call is made without
// page parameters, for lists that are paged in another way; then Last has no meaning.
func (s *Session) ReadPage(ctx context.Context, c Call, n int) (p Page, err error) {
	err = s.repeat(ctx, c.Route, func() (err error) { p, err = s.readPage(ctx, c, n); return err })
	return p, err
}

func (s *Session) readPage(ctx context.Context, c Call, n int) (Page, error) {
	if n > 0 {
		q := url.Values{}
		maps.Copy(q, c.Query)
		q.Set("page", strconv.Itoa(n))
		q.Set("per_page", strconv.Itoa(PerPage))
		c.Query = q
	}
	c.items = PerPage
	ctx, release := Holding(ctx)
	defer release()
	a, err := s.do(ctx, c)
	if err != nil {
		return Page{}, err
	}
	items, err := ParseList(a.body)
	if err != nil {
		return Page{}, fault.From(fault.FromProcore, fault.New(fault.Transient, fmt.Errorf("%s: page %d does not parse: %w", c.Route.Name, n, err)))
	}
	p := Page{Items: items, Total: number(a.header, "Total"), PerPage: number(a.header, "Per-Page"), Now: answeredAt(a.header)}
	per := p.PerPage
	if per == 0 {
		per = PerPage
	}
	at := listPosition{seen: max(0, n-1)*per + len(items), total: p.Total}
	p.Last = len(items) == 0 || !at.more(a.header, len(items))
	return p, nil
}

// answeredAt returns the time of an answer, to the second.
func answeredAt(h http.Header) time.Time {
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		return t
	}
	return time.Now()
}
