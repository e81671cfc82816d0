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
	e, err := s.pick("put and list", putsAndLists)
	if err != nil {
		return err
	}
	from, err := s.cursor(ctx, e)
	if err != nil {
		return err
	}
	sent, got, err := s.several(ctx, e, 17)
	if err != nil {
		return err
	}
	all, _, err := s.changes(ctx, &tiebackv1.ListRequest{Entity: e, Cursor: from, Limit: 7})
	if err != nil {
		return err
	}
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
func (s *suite) several(ctx context.Context, e Entity, n int) (sent []*tiebackv1.PutRequest, got []*tiebackv1.Booking, err error) {
	for range n {
		q, b, err := s.book(ctx, e)
		if err != nil {
			return nil, nil, err
		}
		sent, got = append(sent, q), append(got, b)
	}
	return sent, got, nil
}

// checkFromBeginning returns an error if a listing from the beginning, with the connector's own page size,
// lacks a record.
func (s *suite) checkFromBeginning(ctx context.Context, e Entity, sent []*tiebackv1.PutRequest, got []*tiebackv1.Booking) error {
	all, err := s.since(ctx, e, "")
	if err != nil {
		return err
	}
	for i, q := range sent {
		if _, err := all.exactlyOne(q, got[i]); err != nil {
			return fmt.Errorf("listed from the beginning: %w", err)
		}
	}
	return nil
}

func pagingWhileChanging(ctx context.Context, s *suite) error {
	e, err := s.pick("put and list", putsAndLists)
	if err != nil {
		return err
	}
	return errors.Join(s.changeBetweenPages(ctx, e), s.bookWhilePaging(ctx, e))
}

// changeBetweenPages changes, removes and adds records after each page, both listed and unlisted ones.
func (s *suite) changeBetweenPages(ctx context.Context, e Entity) error {
	from, err := s.cursor(ctx, e)
	if err != nil {
		return err
	}
	sent, got, err := s.several(ctx, e, 12)
	if err != nil {
		return err
	}
	seen, q := books{}, &tiebackv1.ListRequest{Entity: e, Cursor: from, Limit: 3}
	gone := map[string]bool{}
	for i := 0; ; i++ {
		page, err := s.page(ctx, q)
		if err != nil {
			return err
		}
		seen.follow(page.Changes)
		if q.Cursor = page.Cursor; !page.More {
			break
		}
		if i >= 3 {
			continue
		}
		for _, n := range []int{i, len(got) - 1 - i} { // a listed one and an unlisted one
			if err := s.disturb(ctx, sent[n], got[n], n%2 == 1, gone); err != nil {
				return err
			}
		}
		late, b, err := s.book(ctx, e)
		if err != nil {
			return err
		}
		sent, got = append(sent, late), append(got, b)
	}
	return seen.check(sent, got, gone)
}

// disturb changes a record, or removes it.
func (s *suite) disturb(ctx context.Context, q *tiebackv1.PutRequest, b *tiebackv1.Booking, remove bool, gone map[string]bool) error {
	c := s.cans[q.Record.Entity]
	if remove && c.Remove {
		gone[b.OriginId] = true
		return s.remove(ctx, q.Record.Entity, b.OriginId)
	}
	if !c.Update {
		return nil
	}
	change := s.changeOf(q, b, s.request(), func(r *Record) { r.Name += " changed" })
	_, err := s.put(ctx, s.main, change)
	q.Record.Name = change.Record.Name
	return err
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
	over, closeAll, err := s.clients(ctx, 4)
	if err != nil {
		return err
	}
	defer closeAll()
	from, err := s.cursor(ctx, e)
	if err != nil {
		return err
	}
	sent, err := s.many(ctx, e, 48)
	if err != nil {
		return err
	}
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
	seen, err := s.followUntil(ctx, &tiebackv1.ListRequest{Entity: e, Cursor: from, Limit: 5}, &done)
	wg.Wait()
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	return seen.check(sent, got, nil)
}

// followUntil follows a listing until the writers are done, and then to its end.
func (s *suite) followUntil(ctx context.Context, q *tiebackv1.ListRequest, done *atomic.Bool) (books, error) {
	seen := books{}
	for last := false; ; {
		last = done.Load()
		page, err := s.page(ctx, q)
		if err != nil {
			return nil, err
		}
		seen.follow(page.Changes)
		q.Cursor = page.Cursor
		if last && !page.More {
			return seen, nil
		}
	}
}

func cursors(ctx context.Context, s *suite) error {
	e, err := s.pick("put and list", putsAndLists)
	if err != nil {
		return err
	}
	q, b, err := s.book(ctx, e)
	if err != nil {
		return err
	}
	from, err := s.cursor(ctx, e)
	if err != nil {
		return err
	}
	for range 2 {
		all, next, err := s.changes(ctx, &tiebackv1.ListRequest{Entity: e, Cursor: from})
		if err != nil {
			return err
		}
		if len(all) > 0 {
			return fmt.Errorf("nothing changed since the last listing, but this one has %d records, the first is %s", len(all), all[0].Record.OriginId)
		}
		from = next
	}
	want := b.OriginId
	if s.cans[e].Update {
		_, err = s.put(ctx, s.main, s.changeOf(q, b, s.request(), func(r *Record) { r.Name += " changed" }))
	} else if _, b, err = s.book(ctx, e); err == nil {
		want = b.OriginId
	}
	if err != nil {
		return err
	}
	all, _, err := s.changes(ctx, &tiebackv1.ListRequest{Entity: e, Cursor: from})
	if err != nil {
		return err
	}
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
