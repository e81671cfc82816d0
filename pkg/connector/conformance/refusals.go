package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func puts(c *can) bool { return c.Put }

func unknownVendor(ctx context.Context, s *suite) error {
	return s.unknown(ctx, vendor, func(r *Record, id string) {
		r.VendorOriginId = id
		if r.Entity == insurance {
			r.VendorOriginId, r.ParentOriginId = "", id
		}
	}, commitment, directCost, insurance)
}

func unknownJob(ctx context.Context, s *suite) error {
	return s.unknown(ctx, job, func(r *Record, id string) { r.JobOriginId = id }, commitment, costCode, subJob, primeContract, budget)
}

func unknownCostCode(ctx context.Context, s *suite) error {
	return s.unknown(ctx, costCode, func(r *Record, id string) {
		if r.Entity == assignment {
			r.CostCodeOriginId = id
			return
		}
		r.Lines[len(r.Lines)-1].CostCodeOriginId = id
	}, commitment, directCost, changeOrder, budget, assignment)
}

// unknown books a record that refers to what the ERP does not have, of the first of some
// entities that is taken.
func (s *suite) unknown(ctx context.Context, what Entity, refer func(*Record, string), some ...Entity) error {
	e, err := s.among("put", puts, some...)
	if err != nil {
		return err
	}
	from, err := s.mark(ctx, e)
	if err != nil {
		return err
	}
	q, err := s.fresh(ctx, e)
	if err != nil {
		return err
	}
	right := clone(q)
	refer(q.Record, "unknown-"+s.target.Unique)
	if err := s.refuses(ctx, from, q, connector.Noun(what)); err != nil {
		return fmt.Errorf("%s of an unknown %s: %w", aNoun(e), connector.Noun(what), err)
	}
	b, err := s.put(ctx, s.main, right) // put right in Procore and exported again: the same key
	if err != nil {
		return fmt.Errorf("after it was put right: %w", err)
	}
	return s.foundAs(ctx, right, b)
}

// refuses says that a put is not refused for the accountant to see, with the field, or
// that it left something behind.
func (s *suite) refuses(ctx context.Context, from string, q *tiebackv1.PutRequest, field string) error {
	_, err := s.putOnce(ctx, q)
	if err := refused(err, field); err != nil {
		return errors.Join(err, s.never(ctx, q), s.absent(ctx, from, q))
	}
	return errors.Join(s.never(ctx, q), s.absent(ctx, from, q))
}

// putOnce puts as the pipeline would, and leaves the answer as it is.
func (s *suite) putOnce(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	a, err := patient(ctx, func() (*tiebackv1.PutResponse, error) { return s.main.Put(ctx, clone(q)) })
	return a.GetBooking(), err
}

func takenCode(ctx context.Context, s *suite) error {
	e, err := s.among("put", puts, job)
	if err != nil {
		return err
	}
	from, err := s.mark(ctx, e)
	if err != nil {
		return err
	}
	first, b, err := s.book(ctx, e)
	if err != nil {
		return err
	}
	second, err := s.fresh(ctx, e)
	if err != nil {
		return err
	}
	other := second.Record.Code
	second.Record.Code = first.Record.Code
	_, err = s.putOnce(ctx, second)
	if wrong := refused(err, "code"); wrong != nil {
		return fmt.Errorf("a second job with the code %s: %w", first.Record.Code, wrong)
	}
	if !strings.Contains(strings.ToLower(fault.UserMessage(err, "")), "code") {
		return fmt.Errorf("its sentence lacks the word code, without which Procore does not let the user choose another one: %q", fault.UserMessage(err, ""))
	}
	if err := errors.Join(s.never(ctx, second), s.absent(ctx, from, second)); err != nil {
		return err
	}
	second.Record.Code = other
	b2, err := s.put(ctx, s.main, second)
	if err != nil {
		return fmt.Errorf("exported again with another code: %w", err)
	}
	return s.eachOnce(ctx, from, []*tiebackv1.PutRequest{first, second}, []*tiebackv1.Booking{b, b2})
}
