package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func sameKey(ctx context.Context, s *suite) error {
	e, err := s.pickPut()
	if err != nil {
		return err
	}
	return s.repeat(ctx, e, func(*tiebackv1.PutRequest) {})
}

// otherContent repeats the key with another name, stamp and lines, preferably for a document.
func otherContent(ctx context.Context, s *suite) error {
	e, err := s.among("put", func(c *can) bool { return c.Put }, append(documents[:3:3], s.entities(func(c *can) bool { return c.Put })...)...)
	if err != nil {
		return err
	}
	return s.repeat(ctx, e, func(q *tiebackv1.PutRequest) {
		q.Record.Name, q.Stamp = q.Record.Name+" other", "0:other"
		if len(q.Record.Lines) > 0 {
			s.setLines(q, "7", "8", "9")
		}
	})
}

// repeat books a record and sends its key again, with a change, from two processes.
func (s *suite) repeat(ctx context.Context, e Entity, change func(*tiebackv1.PutRequest)) error {
	from, err := s.cursor(ctx, e)
	if err != nil {
		return err
	}
	q, b, err := s.book(ctx, e)
	if err != nil {
		return err
	}
	if b.Stamp != q.Stamp {
		return fmt.Errorf("booked with the stamp %q, but the answer has the stamp %q", q.Stamp, b.Stamp)
	}
	another, closeAll, err := s.clients(ctx, 1)
	if err != nil {
		return err
	}
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
	all, err := s.since(ctx, q.Record.Entity, from)
	for _, r := range all {
		if r.Name == again.Record.Name {
			return fmt.Errorf("the content of the repeated put is in the books, as %s", r.OriginId)
		}
	}
	return err
}

func sameKeyAtOnce(ctx context.Context, s *suite) error {
	e, err := s.pickPut()
	if err != nil {
		return err
	}
	all, closeAll, err := s.clients(ctx, 4)
	if err != nil {
		return err
	}
	defer closeAll()
	for range 3 {
		from, err := s.cursor(ctx, e)
		if err != nil {
			return err
		}
		q, err := s.newPut(ctx, e)
		if err != nil {
			return err
		}
		got, err := s.putConcurrently(ctx, all, 16, func(int) *tiebackv1.PutRequest { return q })
		if err != nil {
			return err
		}
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
	e, err := s.pickPut()
	if err != nil {
		return err
	}
	from, err := s.cursor(ctx, e)
	if err != nil {
		return err
	}
	all, closeAll, err := s.clients(ctx, 3)
	if err != nil {
		return err
	}
	defer closeAll()
	sent, err := s.many(ctx, e, 24)
	if err != nil {
		return err
	}
	got, err := s.putConcurrently(ctx, all, len(sent), func(i int) *tiebackv1.PutRequest { return sent[i] })
	if err != nil {
		return err
	}
	return s.checkEachOnce(ctx, from, sent, got)
}

// many returns n puts of new records.
func (s *suite) many(ctx context.Context, e Entity, n int) ([]*tiebackv1.PutRequest, error) {
	var all []*tiebackv1.PutRequest
	for range n {
		q, err := s.newPut(ctx, e)
		if err != nil {
			return nil, err
		}
		all = append(all, q)
	}
	return all, nil
}

// putConcurrently puts n records concurrently, over several drivers, and waits for all.
func (s *suite) putConcurrently(ctx context.Context, over []*client, n int, q func(int) *tiebackv1.PutRequest) ([]*tiebackv1.Booking, error) {
	got, errs := make([]*tiebackv1.Booking, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { got[i], errs[i] = s.put(ctx, over[i%len(over)], q(i)) })
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
	all, err := s.since(ctx, e, from)
	if err != nil {
		return err
	}
	for i, q := range asked {
		if _, err := all.exactlyOne(q, got[i]); err != nil {
			return err
		}
	}
	return nil
}
