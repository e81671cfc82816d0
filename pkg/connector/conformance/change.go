package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// olderRequest changes a record by a newer request and then by an older one with a higher id.
func olderRequest(ctx context.Context, s *suite) error {
	return s.lateChange(ctx, func() (older, newer order.Key) { return s.request(), s.request() })
}

// sameMoment does the same with two requests of the same microsecond.
func sameMoment(ctx context.Context, s *suite) error {
	return s.lateChange(ctx, func() (older, newer order.Key) {
		older = s.request()
		return older, twin(older)
	})
}

func (s *suite) lateChange(ctx context.Context, requests func() (older, newer order.Key)) error {
	e := s.pick("update and list", updatesAndLists)
	from := s.cursor(ctx, e)
	q, b := s.book(ctx, e)
	older, newer := requests()
	change := s.changeOf(q, b, newer, func(r *Record) { r.Name = q.Record.Name + " newer" })
	changed := s.put(ctx, s.main, change)
	if changed.OriginId != b.OriginId {
		return fmt.Errorf("%s was changed in place, and the answer names %s", b.OriginId, changed.OriginId)
	}
	late := s.changeOf(q, b, older, func(r *Record) { r.Name = q.Record.Name + " older" })
	_, err := s.putOnce(ctx, late)
	return errors.Join(
		describe("a change by an older request, under a different key", refused(err, "request")),
		s.checkNotBooked(ctx, late), s.checkContent(ctx, from, change, b), s.repeatChange(ctx, from, change, changed))
}

// unknownOrder changes and removes records by requests of the same second, some of which have no fraction.
func unknownOrder(ctx context.Context, s *suite) error {
	e := s.pick("update and list", updatesAndLists)
	second := s.began.Truncate(time.Second).Add(time.Hour)
	exact, whole := order.New(second.Add(time.Second/2), s.id()), order.New(second, s.id())
	other, next := order.New(second, s.id()), order.New(second.Add(time.Second), s.id())
	return errors.Join(
		describe("after a change by a request with a fraction", s.changeInOneSecond(ctx, e, exact, next, whole)),
		describe("after a change by a request without a fraction", s.changeInOneSecond(ctx, e, whole, next, exact, other)),
		describe("after a change by a request whose fraction is not known any more", s.changeLessExactly(ctx, e, exact)))
}

// changeLessExactly changes and removes a record by a request, and again by the same one after its fraction has been lost.
func (s *suite) changeLessExactly(ctx context.Context, e Entity, exact order.Key) error {
	from := s.cursor(ctx, e)
	q, b := s.book(ctx, e)
	s.put(ctx, s.main, s.changeOf(q, b, exact, func(r *Record) { r.Name = q.Record.Name + " exact" }))
	whole := order.New(s.began.Truncate(time.Second).Add(time.Hour), exact.Request())
	again := s.changeOf(q, b, whole, func(r *Record) { r.Name = q.Record.Name + " whole" })
	again.Key += "/again"
	if _, err := s.tryPut(ctx, s.main, again); err != nil {
		return fmt.Errorf("a further change by the same request: %w", err)
	}
	if err := s.checkContent(ctx, from, again, b); err != nil || !s.cans[e].Remove || !s.cans[e].State {
		return err
	}
	return errors.Join(describe("a reset by the same request", s.removeBy(ctx, e, b.OriginId, whole)), s.checkState(ctx, e, b.OriginId, deleted))
}

// changeInOneSecond changes a record by the first request. The others may neither change nor remove it; the first one and
// the next one may.
func (s *suite) changeInOneSecond(ctx context.Context, e Entity, first, next order.Key, others ...order.Key) error {
	from := s.cursor(ctx, e)
	q, b := s.book(ctx, e)
	change := s.changeOf(q, b, first, func(r *Record) { r.Name = q.Record.Name + " first" })
	s.put(ctx, s.main, change)
	removable := s.cans[e].Remove && s.cans[e].State
	for _, o := range others {
		late := s.changeOf(q, b, o, func(r *Record) { r.Name = q.Record.Name + " second" })
		_, err := s.putOnce(ctx, late)
		err = errors.Join(describe("a change by another request of the same second", refused(err, "request")),
			s.checkNotBooked(ctx, late), s.checkContent(ctx, from, change, b))
		if err == nil && removable {
			err = errors.Join(describe("a reset by another request of the same second", refused(s.removeBy(ctx, e, b.OriginId, o), "request")),
				s.checkState(ctx, e, b.OriginId, present))
		}
		if err != nil {
			return err
		}
	}
	for _, by := range []order.Key{first, next} {
		again := s.changeOf(q, b, by, func(r *Record) { r.Name = q.Record.Name + " again" })
		again.Key += "/again"
		if _, err := s.tryPut(ctx, s.main, again); err != nil {
			return fmt.Errorf("a further change by the same or by a newer request: %w", err)
		}
		if err := s.checkContent(ctx, from, again, b); err != nil {
			return err
		}
	}
	if !removable {
		return nil
	}
	return errors.Join(s.removeBy(ctx, e, b.OriginId, next), s.checkState(ctx, e, b.OriginId, deleted))
}

func describe(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// checkContent returns an error if the record in the books does not have the name of a put.
func (s *suite) checkContent(ctx context.Context, from string, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	r, err := s.since(ctx, q.Record.Entity, from).exactlyOne(q, b)
	if err == nil && r.Name != q.Record.Name {
		err = fmt.Errorf("%s should be %q by now, but the listing has %q", b.OriginId, q.Record.Name, r.Name)
	}
	return err
}

// repeatChange changes the record once more and then repeats the previous change. The repetition returns the
// same answer and changes nothing.
func (s *suite) repeatChange(ctx context.Context, from string, change *tiebackv1.PutRequest, first *tiebackv1.Booking) error {
	last := clone(change)
	setRequest(last, s.request(), "last")
	last.Key, last.Record.Name = change.Key+"/last", change.Record.Name+" last"
	s.put(ctx, s.main, last)
	again, err := s.tryPut(ctx, s.main, change)
	if err != nil {
		return fmt.Errorf("a change whose key was booked before: %w", err)
	}
	return errors.Join(same("a repeated change", again, first), s.checkContent(ctx, from, last, first))
}

// changeUnknown changes a record that the ERP never had, and one that was removed.
func changeUnknown(ctx context.Context, s *suite) error {
	e := s.pick("update", updates)
	from := s.cursor(ctx, e)
	q := s.newPut(ctx, e)
	q.Record.OriginId = "unknown-" + s.target.Unique
	if err := s.refuses(ctx, from, q, ""); err != nil {
		return fmt.Errorf("a change of %s that the ERP never had: %w", aNoun(e), err)
	}
	if !s.cans[e].Remove {
		return nil
	}
	q, b := s.book(ctx, e)
	s.remove(ctx, e, b.OriginId)
	late := s.changeOf(q, b, s.request(), func(r *Record) { r.Name += " changed" })
	return describe(fmt.Sprintf("a change of %s that was removed", aNoun(e)), s.refuses(ctx, from, late, ""))
}
