package erplog

import (
	"context"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/procore"
)

// DetailMark is the position up to which the list of request details is settled and need not be read again. The zero value:
// nothing is settled.
//
//	the list grows    settled details         a reading covers            calls if nothing is new
//	at its end        the first Settled       from the Anchor's page      1
//	at its start      the Anchor and older    page 1 to the Anchor        1
//	in no order       none                    all pages                   all pages
type DetailMark struct {
	Settled int       `json:"settled,omitempty"` // of a list that grows at its end
	Anchor  int64     `json:"anchor,omitempty"`  // id of the settled detail next to the first unsettled one; 0: read all
	Newest  bool      `json:"newest,omitempty"`  // the list has the newest first
	PerPage int       `json:"per_page,omitempty"`
	Pages   int       `json:"pages,omitempty"` // of the list when it was last read whole
	Full    time.Time `json:"full"`            // when the whole list was last read
}

// Details calls take with the company's request details, page by page, from a mark on. It returns the next mark, which ends
// before the first detail that is younger than young: its webhook may still arrive. A list that does not match the mark is
// read whole, its newest pages first if it grows at its end. Details returns from and the error if take fails.
func (r *Reader) Details(ctx context.Context, from DetailMark, young time.Duration, take func([]procore.Detail) error) (DetailMark, error) {
	l := &detailList{reader: r, young: young, take: take, pages: map[int][]procore.Detail{}}
	next, matched := from, false
	var err error
	switch {
	case from.Anchor == 0:
	case from.Newest:
		next, matched, err = l.downTo(ctx, from)
	default:
		next, matched, err = l.upFrom(ctx, from)
	}
	if err == nil && !matched {
		next, err = l.all(ctx)
	}
	if err != nil {
		return from, err
	}
	return next, nil
}

// detailList is a list that is being read.
type detailList struct {
	reader *Reader
	young  time.Duration
	take   func([]procore.Detail) error
	pages  map[int][]procore.Detail
	fresh  bool // a detail younger than young was read: no later one is settled
}

// page reads a page.
func (l *detailList) page(ctx context.Context, n int) (procore.Page, []procore.Detail, error) {
	p, err := l.reader.page(ctx, procore.Call{Route: procore.ListRequestDetails}, n)
	if err != nil {
		return p, nil, err
	}
	var details []procore.Detail
	for _, item := range p.Items {
		details = append(details, l.detail(item, p.Now))
	}
	l.pages[n] = details
	return p, details, nil
}

func (l *detailList) detail(item map[string]any, now time.Time) procore.Detail {
	d := procore.Detail{ID: procore.ID(item["id"]), Request: procore.ID(item["erp_request_id"]), Age: 24 * time.Hour}
	d.Status, _ = item["status"].(string)
	if d.ID == 0 {
		l.reader.malformed(procore.ListRequestDetails, item["id"], fmt.Errorf("not an id"))
	}
	text, _ := item["created_at"].(string)
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		d.Created, d.Age = t, now.Sub(t)
	}
	return d
}

// upFrom reads from the anchor to the end of the list. It returns false if the anchor has moved.
func (l *detailList) upFrom(ctx context.Context, m DetailMark) (DetailMark, bool, error) {
	n, at := (m.Settled-1)/m.PerPage+1, (m.Settled-1)%m.PerPage
	for first := true; ; n++ {
		p, details, err := l.page(ctx, n)
		if err != nil {
			return m, false, err
		}
		if first {
			if at >= len(details) || details[at].ID != m.Anchor {
				return m, false, nil
			}
			details, first = details[at+1:], false
		}
		if err := l.take(details); err != nil {
			return m, false, err
		}
		if !l.settle(&m, details) {
			return m, false, nil
		}
		if p.Last {
			return m, true, nil
		}
	}
}

// settle advances a mark over the details after it that are old enough. It returns false if their ids do not ascend.
func (l *detailList) settle(m *DetailMark, details []procore.Detail) bool {
	last := m.Anchor
	for _, d := range details {
		if d.ID <= last {
			return false
		}
		last = d.ID
		if l.fresh = l.fresh || d.Age < l.young; !l.fresh {
			m.Settled, m.Anchor = m.Settled+1, d.ID
		}
	}
	return true
}

// downTo reads from the newest detail to the anchor. It returns false if the anchor was not found.
func (l *detailList) downTo(ctx context.Context, m DetailMark) (DetailMark, bool, error) {
	next := m
	found := false
	for n := 1; ; n++ {
		p, details, err := l.page(ctx, n)
		if err != nil {
			return m, false, err
		}
		var fresh []procore.Detail
		known := false
		for _, d := range details {
			if known = d.ID <= m.Anchor; known {
				break
			}
			fresh = append(fresh, d)
			if !found && d.Age >= l.young {
				found, next.Anchor = true, d.ID
			}
		}
		if err := l.take(fresh); err != nil {
			return m, false, err
		}
		if known || p.Last {
			return next, known, nil
		}
	}
}

// all reads the whole list, the newest pages first if it grows at its end.
func (l *detailList) all(ctx context.Context) (DetailMark, error) {
	m := DetailMark{Full: time.Now(), Pages: 1}
	first, details, err := l.page(ctx, 1)
	if err != nil {
		return m, err
	}
	m.PerPage = first.PerPage
	if m.PerPage == 0 {
		m.PerPage = max(len(details), 1)
	}
	if err := l.take(details); err != nil {
		return m, err
	}
	var rest []int
	if !first.Last && first.Total > 0 && first.PerPage > 0 && ascending(details) {
		for n := (first.Total-1)/first.PerPage + 1; n > 1; n-- {
			rest = append(rest, n)
		}
	}
	if err := l.rest(ctx, &m, first.Last, rest); err != nil {
		return m, err
	}
	l.conclude(&m)
	return m, nil
}

// rest reads the given pages, or all pages from the second on if none are given.
func (l *detailList) rest(ctx context.Context, m *DetailMark, last bool, pages []int) error {
	for i := 0; i < len(pages) || len(pages) == 0 && !last; i++ {
		n := i + 2
		if len(pages) > 0 {
			n = pages[i]
		}
		p, details, err := l.page(ctx, n)
		if err == nil {
			err = l.take(details)
		}
		if err != nil {
			return err
		}
		m.Pages, last = max(m.Pages, n), p.Last
		if l.past(details, len(pages) > 0) {
			return nil
		}
	}
	return nil
}

// past reports whether all unread details were created before the reader's Since.
func (l *detailList) past(details []procore.Detail, backwards bool) bool {
	if len(details) == 0 || !backwards && !descending(details) {
		return false
	}
	oldest := details[0]
	if !backwards {
		oldest = details[len(details)-1]
	}
	return !oldest.Created.IsZero() && oldest.Created.Before(l.reader.Since)
}

// conclude determines the order of the list and sets the mark.
func (l *detailList) conclude(m *DetailMark) {
	var all []procore.Detail
	for n := 1; n <= m.Pages; n++ {
		all = append(all, l.pages[n]...)
	}
	switch {
	case ascending(all):
		l.settle(m, all)
	case descending(all):
		m.Newest = true
		for _, d := range all {
			if d.Age >= l.young {
				m.Anchor = d.ID
				return
			}
		}
	}
}

func ascending(all []procore.Detail) bool {
	for i := 1; i < len(all); i++ {
		if all[i].ID <= all[i-1].ID {
			return false
		}
	}
	return true
}

func descending(all []procore.Detail) bool {
	for i := 1; i < len(all); i++ {
		if all[i].ID >= all[i-1].ID {
			return false
		}
	}
	return true
}
