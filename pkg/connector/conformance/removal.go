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

func tombstones(ctx context.Context, s *suite) error {
	e, err := s.pick("put, list and remove", func(c *can) bool { return c.Put && c.List && c.Remove })
	if err != nil {
		return err
	}
	q, b, err := s.book(ctx, e)
	if err != nil {
		return err
	}
	from, err := s.mark(ctx, e)
	if err != nil {
		return err
	}
	brief, b2, err := s.book(ctx, e) // booked and removed between two listings
	if err != nil {
		return err
	}
	for _, x := range []*tiebackv1.Booking{b, b2} {
		if err := s.remove(ctx, e, x.OriginId); err != nil {
			return err
		}
	}
	all, _, err := s.changes(ctx, &tiebackv1.ListRequest{Entity: e, Cursor: from})
	if err != nil {
		return err
	}
	return errors.Join(tombstone(all, q, b), s.neverLive(ctx, all, brief, b2), s.neverLive(ctx, all, q, b))
}

// tombstone says what is wrong with the news of a removed record.
func tombstone(all []*tiebackv1.Change, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	for _, c := range all {
		if c.Record.OriginId != b.OriginId {
			continue
		}
		switch {
		case !c.Deleted:
			return fmt.Errorf("%s was removed, and the listing has it as if it were there", b.OriginId)
		case c.Record.ProcoreId != q.Record.ProcoreId:
			return fmt.Errorf("the tombstone of %s has the Procore id %d, it should be %d", b.OriginId, c.Record.ProcoreId, q.Record.ProcoreId)
		}
		return nil
	}
	return fmt.Errorf("%s was listed before and is removed, and no later listing says so", b.OriginId)
}

// neverLive says that a removed record is listed as if it were there.
func (s *suite) neverLive(ctx context.Context, all []*tiebackv1.Change, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	for _, c := range all {
		if c.Record.OriginId == b.OriginId && !c.Deleted {
			return fmt.Errorf("%s was removed, and the listing has it as if it were there", b.OriginId)
		}
	}
	now, err := s.since(ctx, q.Record.Entity, "")
	if err == nil && now[b.OriginId] != nil {
		err = fmt.Errorf("%s was removed, and a listing from the beginning has it as if it were there", b.OriginId)
	}
	return err
}

func states(ctx context.Context, s *suite) error {
	e, err := s.pick("put and state", func(c *can) bool { return c.Put && c.State && c.Remove })
	if err != nil {
		if e, err = s.pick("put and state", func(c *can) bool { return c.Put && c.State }); err != nil {
			return err
		}
	}
	_, b, err := s.book(ctx, e)
	if err != nil {
		return err
	}
	if err := errors.Join(s.stands(ctx, e, b.OriginId, present), s.stands(ctx, e, "unknown-"+s.target.Unique, unknown)); err != nil {
		return err
	}
	if !s.cans[e].Remove {
		return nil
	}
	if err := s.remove(ctx, e, b.OriginId); err != nil {
		return err
	}
	return s.stands(ctx, e, b.OriginId, deleted)
}

func removedTwice(ctx context.Context, s *suite) error {
	e, err := s.pick("put and remove", func(c *can) bool { return c.Put && c.Remove })
	if err != nil {
		return err
	}
	_, b, err := s.book(ctx, e)
	if err != nil {
		return err
	}
	if err := s.remove(ctx, e, b.OriginId); err != nil {
		return err
	}
	if err := s.remove(ctx, e, b.OriginId); err != nil {
		return fmt.Errorf("the second time: %w", err)
	}
	if err := s.remove(ctx, e, "unknown-"+s.target.Unique); err != nil {
		return fmt.Errorf("of what the ERP never had: %w", err)
	}
	return nil
}

// dependents removes a vendor whose contract is in the books, then the contract, then the vendor.
func dependents(ctx context.Context, s *suite) error {
	whole := func(c *can) bool { return c.Put && c.Remove && c.State }
	e, err := s.among("put, remove and state", whole, commitment, directCost)
	if err != nil {
		return err
	}
	if _, err := s.among("put, remove and state", whole, vendor); err != nil {
		return err
	}
	_, v, err := s.book(ctx, vendor)
	if err != nil {
		return err
	}
	q, err := s.fresh(ctx, e)
	if err != nil {
		return err
	}
	q.Record.VendorOriginId = v.OriginId
	b, err := s.put(ctx, s.main, q)
	if err != nil {
		return err
	}
	if err := s.removeUnder(ctx, v.OriginId); err != nil {
		return err
	}
	if err := s.stands(ctx, e, b.OriginId, present); err != nil {
		return fmt.Errorf("its vendor was removed: %w", err)
	}
	if err := errors.Join(s.remove(ctx, e, b.OriginId), s.remove(ctx, vendor, v.OriginId)); err != nil {
		return fmt.Errorf("one after the other: %w", err)
	}
	return s.stands(ctx, vendor, v.OriginId, deleted)
}

// removeUnder removes a vendor that is in use: refused with a sentence, and then it is
// still there; or archived, which leaves the contract alone.
func (s *suite) removeUnder(ctx context.Context, v string) error {
	err := s.remove(ctx, vendor, v)
	if err == nil {
		return s.stands(ctx, vendor, v, deleted)
	}
	if fault.ClassOf(err) != fault.Permanent || fault.UserMessage(err, "") == "" {
		return fmt.Errorf("a vendor in use can't be removed, and the accountant is not told so: %w", err)
	}
	return s.stands(ctx, vendor, v, present)
}

func reset(ctx context.Context, s *suite) error {
	e, err := s.pick("put, list and remove", func(c *can) bool { return c.Put && c.List && c.Remove })
	if err != nil {
		if e, err = s.pick("put and remove", func(c *can) bool { return c.Put && c.Remove }); err != nil {
			return err
		}
	}
	from, err := s.mark(ctx, e)
	if err != nil {
		return err
	}
	q, b, err := s.book(ctx, e)
	if err != nil {
		return err
	}
	if err := s.remove(ctx, e, b.OriginId); err != nil {
		return err
	}
	if err := s.late(ctx, from, q, b); err != nil {
		return fmt.Errorf("after the reset: %w", err)
	}
	again := clone(q)
	by(again, s.request(), "again")
	again.Key = connector.Key(s.target.Company, e, q.Record.ProcoreId, s.request())
	b2, err := s.put(ctx, s.main, again)
	switch {
	case err != nil:
		return fmt.Errorf("exported again: %w", err)
	case b2.OriginId == b.OriginId:
		return fmt.Errorf("exported again it has the origin id of the record that was removed, %s", b.OriginId)
	}
	return errors.Join(s.foundAs(ctx, q, b), s.foundAs(ctx, again, b2), s.once(ctx, from, again, b2))
}

// late repeats an export whose record was removed: the old answer, and nothing is booked.
func (s *suite) late(ctx context.Context, from string, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	a, err := s.put(ctx, s.main, q)
	if err != nil {
		return err
	}
	if err := same("the old key", a, b); err != nil {
		return err
	}
	return s.absent(ctx, from, q)
}
