package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// withRetries makes a call like the pipeline: it retries after the time of a throttled answer, and twice
// after a transient error. Any other error is returned.
func withRetries[A any](ctx context.Context, f func() (A, error)) (A, error) {
	for failures := 0; ; {
		a, err := f()
		switch {
		case err == nil:
			return a, nil
		case fault.ClassOf(err) == fault.Throttled:
			if !pause(ctx, max(fault.RetryAfter(err), 10*time.Millisecond)) {
				return a, err
			}
		case classOf(err) == fault.Transient && failures < 2:
			if failures++; !pause(ctx, 50*time.Millisecond) {
				return a, err
			}
		default:
			return a, err
		}
	}
}

// classOf returns the class of a write's error: an unclassified one is ambiguous, as for connector.ERP.
func classOf(err error) fault.Class {
	var known *fault.Error
	if err != nil && !errors.As(err, &known) {
		return fault.Ambiguous
	}
	return fault.ClassOf(err)
}

// put books q, which must succeed.
func (s *suite) put(ctx context.Context, c *client, q *tiebackv1.PutRequest) *tiebackv1.Booking {
	return must(s.tryPut(ctx, c, q))
}

// tryPut books q and checks that the answer is complete.
func (s *suite) tryPut(ctx context.Context, c *client, q *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	a, err := withRetries(ctx, func() (*tiebackv1.PutResponse, error) { return c.Put(ctx, proto.CloneOf(q)) })
	if err != nil {
		return nil, fmt.Errorf("put of %s: %s: %w", aNoun(q.Record.Entity), classOf(err), err)
	}
	b := a.GetBooking()
	switch {
	case b.GetOriginId() == "":
		return nil, fmt.Errorf("put of %s was answered without an origin id", aNoun(q.Record.Entity))
	case len(b.LineOriginIds) != len(q.Record.Lines):
		return nil, fmt.Errorf("%d lines were booked, and the answer has origin ids for %d", len(q.Record.Lines), len(b.LineOriginIds))
	}
	return b, nil
}

// book books a new record of the entity.
func (s *suite) book(ctx context.Context, e Entity) (*tiebackv1.PutRequest, *tiebackv1.Booking) {
	q := s.newPut(ctx, e)
	return q, s.put(ctx, s.main, q)
}

// find returns the booking of a key, or nil if it was never booked.
func (s *suite) find(ctx context.Context, q *tiebackv1.PutRequest) *tiebackv1.Booking {
	return must(s.tryFind(ctx, q))
}

func (s *suite) tryFind(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	a, err := withRetries(ctx, func() (*tiebackv1.FindResponse, error) {
		return s.main.Find(ctx, &tiebackv1.FindRequest{CompanyId: s.target.Company, Key: q.Key, Entity: q.Record.Entity})
	})
	return a.GetBooking(), describe("find", err)
}

// checkFound returns an error if the booking of a key is not b.
func (s *suite) checkFound(ctx context.Context, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	found := s.find(ctx, q)
	if found == nil {
		return fmt.Errorf("%s was booked as %s, but Find does not find its key", connector.Describe(q.Record), b.OriginId)
	}
	return same("Find", found, b)
}

// checkNotBooked returns an error if a key was booked.
func (s *suite) checkNotBooked(ctx context.Context, q *tiebackv1.PutRequest) error {
	if found := s.find(ctx, q); found != nil {
		return fmt.Errorf("%s was not booked, but Find finds its key, booked as %q", connector.Describe(q.Record), found.OriginId)
	}
	return nil
}

// same returns an error if an answer differs from the first one.
func same(what string, got, want *tiebackv1.Booking) error {
	if proto.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("%s returned {%v}, the first answer was {%v}", what, got, want)
}

// remove removes a record, which must succeed.
func (s *suite) remove(ctx context.Context, e Entity, origin string) {
	check(s.tryRemove(ctx, e, origin))
}

func (s *suite) tryRemove(ctx context.Context, e Entity, origin string) error {
	return describe("remove of "+aNoun(e), s.removeBy(ctx, e, origin, s.request()))
}

// removeBy removes a record for a request.
func (s *suite) removeBy(ctx context.Context, e Entity, origin string, request order.Key) error {
	_, err := withRetries(ctx, func() (*tiebackv1.RemoveResponse, error) {
		return s.main.Remove(ctx, &tiebackv1.RemoveRequest{
			CompanyId: s.target.Company, Entity: e, OriginId: origin, Key: fmt.Sprintf("%d/reset/%d", s.target.Company, request.Request()),
			Request: request.Request(), Order: string(request), OrderLatest: string(request.Latest()),
		})
	})
	return err
}

// checkState returns an error if a record's state is not the wanted one.
func (s *suite) checkState(ctx context.Context, e Entity, origin string, want tiebackv1.RecordState) error {
	a, err := withRetries(ctx, func() (*tiebackv1.StateResponse, error) {
		return s.main.State(ctx, &tiebackv1.StateRequest{CompanyId: s.target.Company, Entity: e, OriginId: origin})
	})
	if err != nil {
		return fmt.Errorf("state of %s: %w", aNoun(e), err)
	}
	if a.GetState() != want {
		return fmt.Errorf("the state of %s %s is %s, it should be %s", connector.Noun(e), origin, word(a.GetState()), word(want))
	}
	return nil
}

func word(s tiebackv1.RecordState) string {
	return map[tiebackv1.RecordState]string{
		tiebackv1.RecordState_RECORD_STATE_PRESENT: "present", tiebackv1.RecordState_RECORD_STATE_DELETED: "deleted",
		tiebackv1.RecordState_RECORD_STATE_UNKNOWN: "unknown", tiebackv1.RecordState_RECORD_STATE_UNSPECIFIED: "not specified",
	}[s]
}

// refused returns an error if err is not a refusal that an accountant can act on: permanent, with a message
// and the field; "" means any field.
func refused(err error, field string) error {
	switch {
	case err == nil:
		return errors.New("it was accepted")
	case fault.ClassOf(err) != fault.Permanent:
		return fmt.Errorf("the refusal is %s, it must be permanent: %w", fault.ClassOf(err), err)
	case fault.UserMessage(err, "") == "":
		return fmt.Errorf("the refusal has no message for the accountant: %w", err)
	case !names(fault.Field(err), field):
		return fmt.Errorf("the refusal names the field %q, it should be %q: %w", fault.Field(err), field, err)
	}
	return nil
}
