package connector

import (
	"context"
	"fmt"
	"iter"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Lives remembers when a record's life in the ERP ended; bus.State does.
type Lives interface {
	Life(ctx context.Context, company int64, entity string, itemID int64) (int64, error)
	EndLife(ctx context.Context, company int64, entity string, itemID, request int64) error
}

// ERP is the portable side of one company's connector. Its methods may be called
// concurrently; their errors are classed.
type ERP struct {
	driver  Driver
	company int64
	lives   Lives
}

// New wraps a company's driver.
func New(company int64, d Driver, lives Lives) *ERP {
	return &ERP{driver: d, company: company, lives: lives}
}

// Book books a record for an ERP request, once however often it is called. An answer that
// was lost is looked up by key before anything is sent again. A record without an origin
// id is created, one with an origin id updated. Two permanent errors of its own: a record
// that makes no sense, and a request older than the unlink or reset that ended the
// record's life.
func (e *ERP) Book(ctx context.Context, request int64, r *tiebackv1.Record) (*tiebackv1.Booking, error) {
	if err := validate(r); err != nil {
		return nil, err
	}
	life, err := e.lives.Life(ctx, e.company, r.Entity.String(), r.ProcoreId)
	if err != nil {
		return nil, err
	}
	if request <= life {
		return nil, fault.Permanentf("A newer request has already unlinked or reset %s, so this one was not carried out.", Describe(r))
	}
	key := Key(e.company, r.Entity, r.ProcoreId, life)
	if r.OriginId != "" {
		key += fmt.Sprintf("/%d", request) // each update is a write of its own
	}
	answer, err := e.driver.Put(ctx, &tiebackv1.PutRequest{CompanyId: e.company, Key: key, Record: r})
	booking := answer.GetBooking()
	if err != nil {
		if booking, err = e.lookUp(ctx, r.Entity, key, err); err != nil {
			return nil, err
		}
	}
	if got := len(booking.GetLineOriginIds()); got != len(r.Lines) || booking.GetOriginId() == "" {
		return nil, fault.New(fault.Permanent, fmt.Errorf("connector booked %s as %q with %d of %d lines", Describe(r), booking.GetOriginId(), got, len(r.Lines)))
	}
	return booking, nil
}

// lookUp finds out what became of a write whose answer was lost.
func (e *ERP) lookUp(ctx context.Context, entity tiebackv1.Entity, key string, cause error) (*tiebackv1.Booking, error) {
	if fault.ClassOf(cause) != fault.Ambiguous {
		return nil, cause
	}
	found, err := e.driver.Find(ctx, &tiebackv1.FindRequest{CompanyId: e.company, Key: key, Entity: entity})
	if err != nil || found.GetBooking() == nil {
		return nil, cause // looked up again, by the same key, when the event comes back
	}
	return found.Booking, nil
}

// Changes pages through an entity's records that changed since req.Cursor. The last
// page's cursor is where the next sync starts, once Procore has all pages.
func (e *ERP) Changes(ctx context.Context, req *tiebackv1.ListRequest) iter.Seq2[*tiebackv1.ListResponse, error] {
	return func(yield func(*tiebackv1.ListResponse, error) bool) {
		for {
			req.CompanyId = e.company
			page, err := e.driver.List(ctx, req)
			if err == nil && page.More && page.Cursor == req.Cursor {
				err = fault.New(fault.Permanent, fmt.Errorf("connector says there are more %s but its cursor %q stands still", Noun(req.Entity), page.Cursor))
			}
			if !yield(page, err) || err != nil || !page.More {
				return
			}
			req.Cursor = page.Cursor
		}
	}
}

// State says whether the ERP has a record.
func (e *ERP) State(ctx context.Context, entity tiebackv1.Entity, originID string) (tiebackv1.RecordState, error) {
	if originID == "" {
		return tiebackv1.RecordState_RECORD_STATE_UNKNOWN, nil
	}
	answer, err := e.driver.State(ctx, &tiebackv1.StateRequest{CompanyId: e.company, Entity: entity, OriginId: originID})
	if err != nil {
		return 0, err
	}
	return answer.State, nil
}

// Remove takes a record out of the books for a reset. Twice is harmless.
func (e *ERP) Remove(ctx context.Context, request int64, entity tiebackv1.Entity, originID string) error {
	_, err := e.driver.Remove(ctx, &tiebackv1.RemoveRequest{
		CompanyId: e.company, Entity: entity, OriginId: originID, Key: fmt.Sprintf("%d/reset/%d", e.company, request),
	})
	return err
}

// EndLife notes, before Procore is told, that request ended the record's life: a later
// export books anew, an earlier one is refused.
func (e *ERP) EndLife(ctx context.Context, request int64, entity tiebackv1.Entity, procoreID int64) error {
	return e.lives.EndLife(ctx, e.company, entity.String(), procoreID, request)
}

// Life is the ERP request that ended the record's last life; 0: it is in its first.
func (e *ERP) Life(ctx context.Context, entity tiebackv1.Entity, procoreID int64) (int64, error) {
	return e.lives.Life(ctx, e.company, entity.String(), procoreID)
}

// Capabilities says what the ERP has and can do.
func (e *ERP) Capabilities(ctx context.Context) (*tiebackv1.CapabilitiesResponse, error) {
	return e.driver.Capabilities(ctx, &tiebackv1.CapabilitiesRequest{CompanyId: e.company})
}

func validate(r *tiebackv1.Record) error {
	if r.Entity == tiebackv1.Entity_ENTITY_UNSPECIFIED || r.ProcoreId == 0 {
		return fault.New(fault.Permanent, fmt.Errorf("record without entity or Procore id: %v", r))
	}
	amounts := map[string]string{"amount": r.Amount, "actual amount": r.ActualAmount}
	for _, l := range r.Lines {
		n := fmt.Sprintf("line %d, ", l.Position)
		amounts[n+"amount"], amounts[n+"quantity"], amounts[n+"unit cost"] = l.Amount, l.Quantity, l.UnitCost
		amounts[n+"tax"], amounts[n+"retainage"] = l.TaxAmount, l.Retainage
	}
	for field, v := range amounts {
		if v == "" {
			continue
		}
		if _, err := decimal.NewFromString(v); err != nil {
			return fault.Refused(field, "The %s of %s is %q, which is not an amount. Correct it in Procore and export again.", field, Describe(r), v)
		}
	}
	return nil
}

// Close closes the driver.
func (e *ERP) Close() error { return e.driver.Close() }
