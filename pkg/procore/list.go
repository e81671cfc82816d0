package procore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// PerPage is how many items of a list one call requests. Procore allows more. A list with smaller pages has their size in its
// headers.
const PerPage = 1000

// smallestCap is the smallest known page size of lists that do not have it in their headers: a page with fewer items is the
// last.
const smallestCap = 100

// List reads a list page by page. Each item is an object with numbers as json.Number. List adds page and per_page to the
// call's query. It makes a call when the iteration reaches its items.
//
// An error is yielded instead of an item. If the caller continues the iteration, the same page is requested again, so wait
// first if the error asks to. A permanent error, or the end of ctx, ends the list. If the list became shorter while it was
// read, items may be missing: List yields a transient error and starts again, so items can be yielded twice.
func (s *Session) List(ctx context.Context, c Call) iter.Seq2[map[string]any, error] {
	return func(yield func(map[string]any, error) bool) {
		for at := (listPosition{page: 1}); !at.last; {
			var items []map[string]any
			err := s.repeat(ctx, c.Route, func() (err error) { items, err = s.page(ctx, c, &at); return err })
			if err != nil {
				if !yield(nil, err) || fault.ClassOf(err) == fault.Permanent || ctx.Err() != nil {
					return
				}
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

// listPosition is how far a list was read.
type listPosition struct {
	page  int               // the next one
	seen  int               // items so far
	total int               // by the last page; 0: not known
	sum   [sha256.Size]byte // of the last page
	last  bool
}

// page reads the next page and advances at. After an error at is unchanged or at the start.
func (s *Session) page(ctx context.Context, c Call, at *listPosition) ([]map[string]any, error) {
	items, a, err := s.fetchPage(ctx, c, at.page)
	if err != nil {
		return nil, err
	}
	if at.repeated(a.body) {
		at.last = true
		return nil, nil
	}
	if total := number(a.header, "Total"); a.header.Get("Total") != "" && total < at.total {
		err := fmt.Errorf("%s: the list had %d items and has %d now: it is read from its start again", c.Route.Name, at.total, total)
		*at = listPosition{page: 1}
		return nil, fault.New(fault.Transient, err)
	}
	at.move(a, len(items))
	return items, nil
}

// fetchPage makes the call for the n-th page of a list; 0: without page parameters.
func (s *Session) fetchPage(ctx context.Context, c Call, n int) ([]map[string]any, answer, error) {
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
		return nil, answer{}, err
	}
	items, err := ParseList(a.body)
	if err != nil {
		err = fault.From(fault.FromProcore, fault.New(fault.Transient, fmt.Errorf("%s: page %d does not parse: %w", c.Route.Name, n, err)))
	}
	return items, a, err
}

// repeated reports whether a page equals the previous one: the list ignores page numbers.
func (p *listPosition) repeated(raw []byte) bool { return p.page > 1 && p.sum == sha256.Sum256(raw) }

func (p *listPosition) move(a answer, got int) {
	p.page, p.seen, p.sum = p.page+1, p.seen+got, sha256.Sum256(a.body)
	p.total = max(p.total, number(a.header, "Total"))
	p.last = got == 0 || !p.more(a.header, got)
}

// more reports whether there is another page: by Link, else by Total, else by whether this page is full.
func (p *listPosition) more(h http.Header, got int) bool {
	if links := h.Values("Link"); len(links) > 0 {
		return strings.Contains(strings.ReplaceAll(strings.Join(links, ","), `"`, ""), "rel=next")
	}
	if h.Get("Total") != "" {
		return p.seen < p.total
	}
	if full := number(h, "Per-Page"); full > 0 {
		return got >= full
	}
	return got >= smallestCap
}

// number returns the number in a header, or 0.
func number(h http.Header, name string) int {
	n, _ := strconv.Atoi(h.Get(name))
	return n
}

// Page is one page of a list. Each item is an object with numbers as json.Number.
type Page struct {
	Items   []map[string]any
	Total   int       // items of the whole list; 0: not in the answer
	PerPage int       // items of a full page; 0: not in the answer
	Last    bool      // there is no page after it
	Now     time.Time // when it was answered, by Procore's clock; by ours if it is not in the answer
}

// ReadPage reads the n-th page of a list, from 1, with one call. List reads a whole list. If n is 0, the call is made without
// page parameters, for lists that are paged in another way; then Last has no meaning.
func (s *Session) ReadPage(ctx context.Context, c Call, n int) (p Page, err error) {
	var a answer
	err = s.repeat(ctx, c.Route, func() (err error) { p.Items, a, err = s.fetchPage(ctx, c, n); return err })
	if err != nil {
		return Page{}, err
	}
	p.Total, p.PerPage, p.Now = number(a.header, "Total"), number(a.header, "Per-Page"), answeredAt(a.header)
	at := listPosition{seen: max(0, n-1)*cmp.Or(p.PerPage, PerPage) + len(p.Items), total: p.Total}
	p.Last = len(p.Items) == 0 || !at.more(a.header, len(p.Items))
	return p, nil
}

// answeredAt returns the time of an answer, to the second.
func answeredAt(h http.Header) time.Time {
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		return t
	}
	return time.Now()
}

// ParseList reads an array of objects, or one under "data" as newer lists have it.
func ParseList(raw []byte) ([]map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // ids need 64 bits
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		var wrapped struct {
			Data []map[string]any `json:"data"`
		}
		err := dec.Decode(&wrapped)
		if err == nil && wrapped.Data == nil {
			err = errors.New("it is neither a list nor an object with one under data")
		}
		return wrapped.Data, err
	}
	var items []map[string]any
	err := dec.Decode(&items)
	if err == nil && items == nil {
		err = errors.New("it is null")
	}
	return items, err
}

// ID is ParseID without an error. It returns 0 for a value that is not an id.
func ID(v any) int64 {
	id, _ := ParseID(v)
	return id
}

// ErrNoID is the error of ParseID.
var ErrNoID = errors.New("not an id: a positive integer below 2^63")

// ParseID reads an id, a JSON number or a string of digits. 0, nil: there is none (nil, or an empty string).
// Any other value, including a number of more than 63 bits, is ErrNoID.
func ParseID(v any) (int64, error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case json.Number:
		return parseID(v.String())
	case string:
		if v = strings.TrimSpace(v); v == "" {
			return 0, nil
		}
		return parseID(v)
	}
	return 0, ErrNoID
}

// parseID looks at the characters first, because strconv builds an error for each text that is no number.
func parseID(text string) (int64, error) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, ErrNoID
		}
	}
	id, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, ErrNoID
	}
	return int64(id), nil
}
