package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func sameKey(ctx context.Context, s *suite) error {
	e := s.pickPut()
	return s.repeat(ctx, e, func(*tiebackv1.PutRequest) {})
}

// otherContent repeats the key with another name, stamp and lines, preferably for a document.
func otherContent(ctx context.Context, s *suite) error {
	e := s.among("put", slices.Concat(documents[:3], simplest), puts)
	return s.repeat(ctx, e, func(q *tiebackv1.PutRequest) {
		q.Record.Name, q.Stamp = q.Record.Name+" other", "0:other"
		if len(q.Record.Lines) > 0 {
			s.setLines(q, "7", "8", "9")
		}
	})
}

// repeat books a record and sends its key again, with a change, from two processes.
func (s *suite) repeat(ctx context.Context, e Entity, change func(*tiebackv1.PutRequest)) error {
	from := s.cursor(ctx, e)
	q, b := s.book(ctx, e)
	if b.Stamp != q.Stamp {
		return fmt.Errorf("booked with the stamp %q, but the answer has the stamp %q", q.Stamp, b.Stamp)
	}
	another, closeAll := s.clients(ctx, 1)
	defer closeAll()
	again := clone(q)
	change(again)
	for i, c := range []*client{s.main, another[0]} {
		a, err := withRetries(ctx, func() (*tiebackv1.PutResponse, error) { return c.Put(ctx, clone(again)) })
		if err != nil {
			return fmt.Errorf("the repeated key was refused: %w", err)
		}
		if err := same([]string{"the repeated key", "the repeated key from another process"}[i], a.GetBooking(), b); err != nil {
			return err
		}
	}
	return errors.Join(s.checkFound(ctx, q, b), s.checkOnce(ctx, from, q, b), s.checkRepeatAbsent(ctx, from, q, again))
}

// checkRepeatAbsent returns an error if the content of the repeated put is in the books.
func (s *suite) checkRepeatAbsent(ctx context.Context, from string, q, again *tiebackv1.PutRequest) error {
	if again.Record.Name == q.Record.Name || !s.cans[q.Record.Entity].List {
		return nil
	}
	for _, r := range s.since(ctx, q.Record.Entity, from) {
		if r.Name == again.Record.Name {
			return fmt.Errorf("the content of the repeated put is in the books, as %s", r.OriginId)
		}
	}
	return nil
}

func sameKeyAtOnce(ctx context.Context, s *suite) error {
	e := s.pickPut()
	all, closeAll := s.clients(ctx, 4)
	defer closeAll()
	for range 3 {
		from := s.cursor(ctx, e)
		q := s.newPut(ctx, e)
		got := must(s.putConcurrently(ctx, all, 16, func(int) *tiebackv1.PutRequest { return q }))
		for _, b := range got {
			if err := same("one of 16 concurrent puts", b, got[0]); err != nil {
				return err
			}
		}
		if err := errors.Join(s.checkFound(ctx, q, got[0]), s.checkOnce(ctx, from, q, got[0])); err != nil {
			return err
		}
	}
	return nil
}

func keysAtOnce(ctx context.Context, s *suite) error {
	e := s.pickPut()
	from := s.cursor(ctx, e)
	all, closeAll := s.clients(ctx, 3)
	defer closeAll()
	sent := s.many(ctx, e, 24)
	got := must(s.putConcurrently(ctx, all, len(sent), func(i int) *tiebackv1.PutRequest { return sent[i] }))
	return s.checkEachOnce(ctx, from, sent, got)
}

// many returns n puts of new records.
func (s *suite) many(ctx context.Context, e Entity, n int) []*tiebackv1.PutRequest {
	var all []*tiebackv1.PutRequest
	for range n {
		all = append(all, s.newPut(ctx, e))
	}
	return all
}

// putConcurrently puts n records concurrently, over several drivers, and waits for all.
func (s *suite) putConcurrently(ctx context.Context, over []*client, n int, q func(int) *tiebackv1.PutRequest) ([]*tiebackv1.Booking, error) {
	got, errs := make([]*tiebackv1.Booking, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { got[i], errs[i] = s.tryPut(ctx, over[i%len(over)], q(i)) })
	}
	wg.Wait()
	return got, errors.Join(errs...)
}

// checkEachOnce returns an error if a record is not in the books exactly once.
func (s *suite) checkEachOnce(ctx context.Context, from string, asked []*tiebackv1.PutRequest, got []*tiebackv1.Booking) error {
	by := map[string]*tiebackv1.PutRequest{}
	for i, b := range got {
		if other := by[b.OriginId]; other != nil {
			return fmt.Errorf("%q and %q have the same origin id %s", other.Record.Name, asked[i].Record.Name, b.OriginId)
		}
		by[b.OriginId] = asked[i]
	}
	e := asked[0].Record.Entity
	if !s.cans[e].List {
		return nil
	}
	all := s.since(ctx, e, from)
	for i, q := range asked {
		if _, err := all.exactlyOne(q, got[i]); err != nil {
			return err
		}
	}
	return nil
}
