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

// unknown books a record with a reference that the ERP does not have, of the first entity that the connector
// takes.
func (s *suite) unknown(ctx context.Context, what Entity, refer func(*Record, string), some ...Entity) error {
	e := s.among("put", some, puts)
	from := s.cursor(ctx, e)
	q := s.newPut(ctx, e)
	corrected := clone(q)
	refer(q.Record, "unknown-"+s.target.Unique)
	if err := s.refuses(ctx, from, q, connector.Noun(what)); err != nil {
		return fmt.Errorf("%s with an unknown %s: %w", aNoun(e), connector.Noun(what), err)
	}
	b, err := s.tryPut(ctx, s.main, corrected) // corrected in Procore and exported again with the same key
	if err != nil {
		return fmt.Errorf("after it was corrected: %w", err)
	}
	return s.checkFound(ctx, corrected, b)
}

// refuses returns an error if a put is not refused with the field, or if it left something in the books.
func (s *suite) refuses(ctx context.Context, from string, q *tiebackv1.PutRequest, field string) error {
	_, err := s.putOnce(ctx, q)
	return errors.Join(refused(err, field), s.checkNotBooked(ctx, q), s.checkAbsent(ctx, from, q))
}

// putOnce puts a record like the pipeline and returns the answer unchecked.
func (s *suite) putOnce(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	a, err := withRetries(ctx, func() (*tiebackv1.PutResponse, error) { return s.main.Put(ctx, clone(q)) })
	return a.GetBooking(), err
}

func takenCode(ctx context.Context, s *suite) error {
	e := s.among("put", []Entity{job}, puts)
	from := s.cursor(ctx, e)
	first, b := s.book(ctx, e)
	second := s.newPut(ctx, e)
	other := second.Record.Code
	second.Record.Code = first.Record.Code
	_, err := s.putOnce(ctx, second)
	if wrong := refused(err, "code"); wrong != nil {
		return fmt.Errorf("a second job with the code %s: %w", first.Record.Code, wrong)
	}
	if !strings.Contains(strings.ToLower(fault.UserMessage(err, "")), "code") {
		return fmt.Errorf("its message lacks the word code, without which Procore does not let the user choose another one: %q", fault.UserMessage(err, ""))
	}
	if err := errors.Join(s.checkNotBooked(ctx, second), s.checkAbsent(ctx, from, second)); err != nil {
		return err
	}
	second.Record.Code = other
	b2, err := s.tryPut(ctx, s.main, second)
	if err != nil {
		return fmt.Errorf("exported again with another code: %w", err)
	}
	return s.checkEachOnce(ctx, from, []*tiebackv1.PutRequest{first, second}, []*tiebackv1.Booking{b, b2})
}
