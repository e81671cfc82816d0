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

// patient makes a call as the pipeline would: again after a throttled answer's time, and
// twice more after a transient one. Any other error is the case's to judge.
func patient[A any](ctx context.Context, f func() (A, error)) (A, error) {
	for hiccups := 0; ; {
		a, err := f()
		switch {
		case err == nil:
			return a, nil
		case fault.ClassOf(err) == fault.Throttled:
			if !pause(ctx, max(fault.RetryAfter(err), 10*time.Millisecond)) {
				return a, err
			}
		case classOf(err) == fault.Transient && hiccups < 2:
			if hiccups++; !pause(ctx, 50*time.Millisecond) {
				return a, err
			}
		default:
			return a, err
		}
	}
}

// classOf is the class of a write's error: one that nobody classed is ambiguous, as the
// portable side takes it.
func classOf(err error) fault.Class {
	var known *fault.Error
	if err != nil && !errors.As(err, &known) {
		return fault.Ambiguous
	}
	return fault.ClassOf(err)
}

// put books q and checks that the answer is whole.
func (s *suite) put(ctx context.Context, c *client, q *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	a, err := patient(ctx, func() (*tiebackv1.PutResponse, error) { return c.Put(ctx, proto.CloneOf(q)) })
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

// book makes a new record of the entity and books it.
func (s *suite) book(ctx context.Context, e Entity) (*tiebackv1.PutRequest, *tiebackv1.Booking, error) {
	q, err := s.fresh(ctx, e)
	if err != nil {
		return nil, nil, err
	}
	b, err := s.put(ctx, s.main, q)
	return q, b, err
}

// find gives the booking of a key; nil: never booked.
func (s *suite) find(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	a, err := patient(ctx, func() (*tiebackv1.FindResponse, error) {
		return s.main.Find(ctx, &tiebackv1.FindRequest{CompanyId: s.target.Company, Key: q.Key, Entity: q.Record.Entity})
	})
	if err != nil {
		return nil, fmt.Errorf("find: %w", err)
	}
	return a.GetBooking(), nil
}

// foundAs says that a key's booking is not b.
func (s *suite) foundAs(ctx context.Context, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	found, err := s.find(ctx, q)
	switch {
	case err != nil:
		return err
	case found == nil:
		return fmt.Errorf("%s was booked as %s, and Find by its key says that it never was", connector.Describe(q.Record), b.OriginId)
	}
	return same("Find", found, b)
}

// never says that a key was booked after all.
func (s *suite) never(ctx context.Context, q *tiebackv1.PutRequest) error {
	found, err := s.find(ctx, q)
	if err == nil && found != nil {
		err = fmt.Errorf("%s was not booked, and Find by its key says that it is booked as %q", connector.Describe(q.Record), found.OriginId)
	}
	return err
}

// same says how an answer differs from the first one.
func same(what string, got, want *tiebackv1.Booking) error {
	if proto.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("%s answers {%v}, the first answer was {%v}", what, got, want)
}

func (s *suite) remove(ctx context.Context, e Entity, origin string) error {
	if err := s.removeBy(ctx, e, origin, s.request()); err != nil {
		return fmt.Errorf("remove of %s: %w", aNoun(e), err)
	}
	return nil
}

func (s *suite) removeBy(ctx context.Context, e Entity, origin string, request order.Key) error {
	_, err := patient(ctx, func() (*tiebackv1.RemoveResponse, error) {
		return s.main.Remove(ctx, &tiebackv1.RemoveRequest{
			CompanyId: s.target.Company, Entity: e, OriginId: origin, Key: fmt.Sprintf("%d/reset/%d", s.target.Company, request.Request()),
			Request: request.Request(), Order: string(request),
		})
	})
	return err
}

// stands says that a record's state is not the one wanted.
func (s *suite) stands(ctx context.Context, e Entity, origin string, want tiebackv1.RecordState) error {
	a, err := patient(ctx, func() (*tiebackv1.StateResponse, error) {
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
		tiebackv1.RecordState_RECORD_STATE_UNKNOWN: "unknown", tiebackv1.RecordState_RECORD_STATE_UNSPECIFIED: "not told",
	}[s]
}

// refused says that err is not a refusal that an accountant can act on: permanent, with a
// sentence and the field; "": any field.
func refused(err error, field string) error {
	switch {
	case err == nil:
		return errors.New("it was accepted")
	case fault.ClassOf(err) != fault.Permanent:
		return fmt.Errorf("the refusal is %s, it must be permanent: %w", fault.ClassOf(err), err)
	case fault.UserMessage(err, "") == "":
		return fmt.Errorf("the refusal has no sentence for the accountant: %w", err)
	case !names(fault.Field(err), field):
		return fmt.Errorf("the refusal names the field %q, it should be %q: %w", fault.Field(err), field, err)
	}
	return nil
}
