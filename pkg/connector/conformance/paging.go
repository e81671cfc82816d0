package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func paging(ctx context.Context, s *suite) error {
	e := s.pick("put and list", putsAndLists)
	from := s.cursor(ctx, e)
	sent, got := s.several(ctx, e, 17)
	all, _ := s.changes(ctx, &tiebackv1.ListRequest{Entity: e, Cursor: from, Limit: 7})
	times := map[string]int{}
	for _, c := range all {
		times[c.Record.OriginId]++
	}
	for i, b := range got {
		if n := times[b.OriginId]; n != 1 {
			return fmt.Errorf("in pages of 7, %s (%d of %d, in the order of booking) is listed %d times", connector.Describe(sent[i].Record), i+1, len(got), n)
		}
	}
	return s.checkFromBeginning(ctx, e, sent, got)
}

// several books n records, one after the other.
func (s *suite) several(ctx context.Context, e Entity, n int) (sent []*tiebackv1.PutRequest, got []*tiebackv1.Booking) {
	for range n {
		q, b := s.book(ctx, e)
		sent, got = append(sent, q), append(got, b)
	}
	return sent, got
}

// checkFromBeginning returns an error if a listing from the beginning, with the connector's own page size,
// lacks a record.
func (s *suite) checkFromBeginning(ctx context.Context, e Entity, sent []*tiebackv1.PutRequest, got []*tiebackv1.Booking) error {
	all := s.since(ctx, e, "")
	for i, q := range sent {
		if _, err := all.exactlyOne(q, got[i]); err != nil {
			return fmt.Errorf("listed from the beginning: %w", err)
		}
	}
	return nil
}

func pagingWhileChanging(ctx context.Context, s *suite) error {
	e := s.pick("put and list", putsAndLists)
	return errors.Join(s.changeBetweenPages(ctx, e), s.bookWhilePaging(ctx, e))
}

// changeBetweenPages changes, removes and adds records after each page, both listed and unlisted ones.
func (s *suite) changeBetweenPages(ctx context.Context, e Entity) error {
	from := s.cursor(ctx, e)
	sent, got := s.several(ctx, e, 12)
	seen, q := books{}, &tiebackv1.ListRequest{Entity: e, Cursor: from, Limit: 3}
	gone := map[string]bool{}
	for i := 0; ; i++ {
		page := s.page(ctx, q)
		seen.follow(page.Changes)
		if q.Cursor = page.Cursor; !page.More {
			break
		}
		if i >= 3 {
			continue
		}
		for _, n := range []int{i, len(got) - 1 - i} { // a listed one and an unlisted one
			s.disturb(ctx, sent[n], got[n], n%2 == 1, gone)
		}
		late, b := s.book(ctx, e)
		sent, got = append(sent, late), append(got, b)
	}
	return seen.check(sent, got, gone)
}

// disturb changes a record, or removes it.
func (s *suite) disturb(ctx context.Context, q *tiebackv1.PutRequest, b *tiebackv1.Booking, remove bool, gone map[string]bool) {
	c := s.cans[q.Record.Entity]
	if remove && c.Remove {
		gone[b.OriginId] = true
		s.remove(ctx, q.Record.Entity, b.OriginId)
		return
	}
	if !c.Update {
		return
	}
	change := s.changeOf(q, b, s.request(), func(r *Record) { r.Name += " changed" })
	s.put(ctx, s.main, change)
	q.Record.Name = change.Record.Name
}

// check compares the records that a reader followed with those in the books.
func (b books) check(sent []*tiebackv1.PutRequest, got []*tiebackv1.Booking, gone map[string]bool) error {
	for i, q := range sent {
		r := b[got[i].OriginId]
		switch {
		case gone[got[i].OriginId]:
			if r != nil {
				return fmt.Errorf("%s was removed during paging, but the reader did not see its tombstone", connector.Describe(q.Record))
			}
		case r == nil:
			return fmt.Errorf("%s is in the books, but a reader that paged meanwhile never saw it", connector.Describe(q.Record))
		case r.Name != q.Record.Name:
			return fmt.Errorf("%s was changed during paging, but the reader still has %q", connector.Describe(q.Record), r.Name)
		}
	}
	return nil
}

// bookWhilePaging books from several processes while another one follows the listing.
func (s *suite) bookWhilePaging(ctx context.Context, e Entity) error {
	over, closeAll := s.clients(ctx, 4)
	defer closeAll()
	from := s.cursor(ctx, e)
	sent := s.many(ctx, e, 48)
	var done atomic.Bool
	var got []*tiebackv1.Booking
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer done.Store(true)
		for i := 0; i < len(sent) && failed == nil; i += 12 {
			var some []*tiebackv1.Booking
			some, failed = s.putConcurrently(ctx, over, 12, func(n int) *tiebackv1.PutRequest { return sent[i+n] })
			got = append(got, some...)
		}
	})
	seen := books{}
	err := catch(func() error {
		s.followUntil(ctx, seen, &tiebackv1.ListRequest{Entity: e, Cursor: from, Limit: 5}, &done)
		return nil
	})
	wg.Wait()
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	return seen.check(sent, got, nil)
}

// followUntil follows a listing until the writers are done, and then to its end.
func (s *suite) followUntil(ctx context.Context, seen books, q *tiebackv1.ListRequest, done *atomic.Bool) {
	for last := false; ; {
		last = done.Load()
		page := s.page(ctx, q)
		seen.follow(page.Changes)
		q.Cursor = page.Cursor
		if last && !page.More {
			return
		}
	}
}

func cursors(ctx context.Context, s *suite) error {
	e := s.pick("put and list", putsAndLists)
	q, b := s.book(ctx, e)
	from := s.cursor(ctx, e)
	for range 2 {
		all, next := s.changes(ctx, &tiebackv1.ListRequest{Entity: e, Cursor: from})
		if len(all) > 0 {
			return fmt.Errorf("nothing changed since the last listing, but this one has %d records, the first is %s", len(all), all[0].Record.OriginId)
		}
		from = next
	}
	want := b.OriginId
	if s.cans[e].Update {
		s.put(ctx, s.main, s.changeOf(q, b, s.request(), func(r *Record) { r.Name += " changed" }))
	} else {
		_, b = s.book(ctx, e)
		want = b.OriginId
	}
	all, _ := s.changes(ctx, &tiebackv1.ListRequest{Entity: e, Cursor: from})
	if len(all) != 1 || all[0].Record.OriginId != want {
		return fmt.Errorf("one record changed since the last listing, %s, but this one has %d", want, len(all))
	}
	return s.checkUnknownCursor(ctx, e)
}

// checkUnknownCursor returns an error if a cursor that the connector never returned is not refused.
func (s *suite) checkUnknownCursor(ctx context.Context, e Entity) error {
	_, err := s.main.List(ctx, &tiebackv1.ListRequest{CompanyId: s.target.Company, Entity: e, Cursor: "no cursor of yours!"})
	if err := refused(err, "cursor"); err != nil {
		return fmt.Errorf("a cursor that the connector never returned: %w", err)
	}
	return nil
}
