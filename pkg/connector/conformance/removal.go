package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

const (
	present = tiebackv1.RecordState_RECORD_STATE_PRESENT
	deleted = tiebackv1.RecordState_RECORD_STATE_DELETED
	unknown = tiebackv1.RecordState_RECORD_STATE_UNKNOWN
)

func removesAndLists(c *can) bool  { return removes(c) && c.List }
func removesAndStates(c *can) bool { return removes(c) && c.State }

func tombstones(ctx context.Context, s *suite) error {
	e := s.pick("put, list and remove", removesAndLists)
	q, b := s.book(ctx, e)
	from := s.cursor(ctx, e)
	shortLived, b2 := s.book(ctx, e) // booked and removed between two listings
	for _, x := range []*tiebackv1.Booking{b, b2} {
		s.remove(ctx, e, x.OriginId)
	}
	all, _ := s.changes(ctx, &tiebackv1.ListRequest{Entity: e, Cursor: from})
	return errors.Join(tombstone(all, q, b), s.checkNotLive(ctx, all, shortLived, b2), s.checkNotLive(ctx, all, q, b))
}

// tombstone checks the listed change of a removed record.
func tombstone(all []*tiebackv1.Change, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	for _, c := range all {
		if c.Record.OriginId != b.OriginId {
			continue
		}
		switch {
		case !c.Deleted:
			return fmt.Errorf("%s was removed, but the listing has it as present", b.OriginId)
		case c.Record.ProcoreId != q.Record.ProcoreId:
			return fmt.Errorf("the tombstone of %s has the Procore id %d, it should be %d", b.OriginId, c.Record.ProcoreId, q.Record.ProcoreId)
		}
		return nil
	}
	return fmt.Errorf("%s was listed and then removed, but no later listing says so", b.OriginId)
}

// checkNotLive returns an error if a removed record is listed as present.
func (s *suite) checkNotLive(ctx context.Context, all []*tiebackv1.Change, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	for _, c := range all {
		if c.Record.OriginId == b.OriginId && !c.Deleted {
			return fmt.Errorf("%s was removed, but the listing has it as present", b.OriginId)
		}
	}
	if s.since(ctx, q.Record.Entity, "")[b.OriginId] != nil {
		return fmt.Errorf("%s was removed, but a listing from the beginning has it as present", b.OriginId)
	}
	return nil
}

func states(ctx context.Context, s *suite) error {
	e := s.pick("put and state", removesAndStates, func(c *can) bool { return c.Put && c.State })
	_, b := s.book(ctx, e)
	if err := errors.Join(s.checkState(ctx, e, b.OriginId, present), s.checkState(ctx, e, "unknown-"+s.target.Unique, unknown)); err != nil {
		return err
	}
	if !s.cans[e].Remove {
		return nil
	}
	s.remove(ctx, e, b.OriginId)
	return s.checkState(ctx, e, b.OriginId, deleted)
}

func removedTwice(ctx context.Context, s *suite) error {
	e := s.pick("put and remove", removes)
	_, b := s.book(ctx, e)
	s.remove(ctx, e, b.OriginId)
	return errors.Join(
		describe("removing it again", s.tryRemove(ctx, e, b.OriginId)),
		describe("removing an unknown record", s.tryRemove(ctx, e, "unknown-"+s.target.Unique)))
}

// dependents removes a vendor whose contract is in the books, then the contract, then the vendor again.
func dependents(ctx context.Context, s *suite) error {
	e := s.among("put, remove and state", []Entity{commitment, directCost}, removesAndStates)
	s.among("put, remove and state", []Entity{vendor}, removesAndStates)
	_, v := s.book(ctx, vendor)
	q := s.newPut(ctx, e)
	q.Record.VendorOriginId = v.OriginId
	b := s.put(ctx, s.main, q)
	if err := s.removeInUse(ctx, v.OriginId); err != nil {
		return err
	}
	if err := s.checkState(ctx, e, b.OriginId, present); err != nil {
		return fmt.Errorf("after its vendor was removed: %w", err)
	}
	if err := errors.Join(s.tryRemove(ctx, e, b.OriginId), s.tryRemove(ctx, vendor, v.OriginId)); err != nil {
		return fmt.Errorf("removing the contract and then the vendor: %w", err)
	}
	return s.checkState(ctx, vendor, v.OriginId, deleted)
}

// removeInUse removes a vendor that is in use. Either this is refused with a message and the vendor stays, or
// the vendor is archived, which does not affect the contract.
func (s *suite) removeInUse(ctx context.Context, v string) error {
	err := s.tryRemove(ctx, vendor, v)
	if err == nil {
		return s.checkState(ctx, vendor, v, deleted)
	}
	if fault.ClassOf(err) != fault.Permanent || fault.UserMessage(err, "") == "" {
		return fmt.Errorf("a vendor in use can't be removed, but the refusal has no message for the accountant: %w", err)
	}
	return s.checkState(ctx, vendor, v, present)
}

func reset(ctx context.Context, s *suite) error {
	e := s.pick("put and remove", removesAndLists, removes)
	from := s.cursor(ctx, e)
	q, b := s.book(ctx, e)
	s.remove(ctx, e, b.OriginId)
	if err := s.repeatRemoved(ctx, from, q, b); err != nil {
		return fmt.Errorf("after the reset: %w", err)
	}
	again := clone(q)
	setRequest(again, s.request(), "again")
	again.Key = connector.Key(s.target.Company, e, q.Record.ProcoreId, s.request())
	b2, err := s.tryPut(ctx, s.main, again)
	switch {
	case err != nil:
		return fmt.Errorf("exported again: %w", err)
	case b2.OriginId == b.OriginId:
		return fmt.Errorf("the new export has the origin id of the removed record, %s", b.OriginId)
	}
	return errors.Join(s.checkFound(ctx, q, b), s.checkFound(ctx, again, b2), s.checkOnce(ctx, from, again, b2))
}

// repeatRemoved repeats an export whose record was removed: the answer is the old one, and nothing is booked.
func (s *suite) repeatRemoved(ctx context.Context, from string, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	a := s.put(ctx, s.main, q)
	if err := same("the old key", a, b); err != nil {
		return err
	}
	return s.checkAbsent(ctx, from, q)
}
