package connector

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	"github.com/tieback/tieback/pkg/trouble"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Generations remembers when a record's life in the ERP ended; state.State does.
type Generations interface {
	Generation(ctx context.Context, company int64, entity string, itemID int64) (order.Key, error)
	NextGeneration(ctx context.Context, company int64, entity string, itemID int64, request order.Key) error
}

// Config is what a company's ERP needs beside its driver.
type Config struct {
	Company     int64
	Generations Generations
	Log         *zap.Logger // nil: none
	Metrics     *Metrics    // nil: none
}

// ERP is the portable side of one company's connector. Its methods may be called
// concurrently; their errors are classed.
type ERP struct {
	Config
	driver  Driver
	caps    capabilities
	slots   *slots // set with the first capabilities
	recent  recent
	trouble trouble.Tracker
}

// New wraps a company's driver.
func New(d Driver, c Config) *ERP {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return &ERP{Config: c, driver: d, caps: capabilities{lock: make(chan struct{}, 1)}}
}

// Changes pages through an entity's records that changed since req.Cursor. The last
// page's cursor is where the next sync starts, once Procore has all pages. A connector that gives pages without end is
// a permanent error.
func (e *ERP) Changes(ctx context.Context, req *tiebackv1.ListRequest) iter.Seq2[*tiebackv1.ListResponse, error] {
	return func(yield func(*tiebackv1.ListResponse, error) bool) {
		if err := e.lists(ctx, req.Entity); err != nil {
			yield(nil, err)
			return
		}
		req.CompanyId = e.Company
		all := newListing(req)
		for {
			page, err := call(ctx, e, "list", reads, req, e.driver.List)
			if err == nil {
				err = all.add(page)
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
	if err := e.tells(ctx, entity); err != nil {
		return 0, err
	}
	a, err := call(ctx, e, "state", reads, &tiebackv1.StateRequest{CompanyId: e.Company, Entity: entity, OriginId: originID}, e.driver.State)
	if err == nil && a.State == tiebackv1.RecordState_RECORD_STATE_UNSPECIFIED {
		err = fault.New(fault.Permanent, errors.New("connector answered no state of "+originID))
	}
	return a.GetState(), err
}

// Remove takes a record out of the books for a reset. Twice is harmless.
func (e *ERP) Remove(ctx context.Context, request order.Key, entity tiebackv1.Entity, originID string) error {
	if err := e.removes(ctx, entity); err != nil {
		return err
	}
	_, err := call(ctx, e, "remove", writes, &tiebackv1.RemoveRequest{
		CompanyId: e.Company, Entity: entity, OriginId: originID, Key: fmt.Sprintf("%d/reset/%d", e.Company, request.Request()),
		Request: request.Request(), Order: string(request),
	}, e.driver.Remove)
	if fault.ClassOf(err) == fault.Permanent && fault.Field(err) == "request" {
		err = fault.Permanentf("A newer request has already changed the %s %s in your ERP system, so it was not reset.", Noun(entity), originID)
	}
	return err
}

// NextGeneration notes, before Procore is told, that request ended the record's life: a later
// export books anew, an earlier one is refused.
func (e *ERP) NextGeneration(ctx context.Context, request order.Key, entity tiebackv1.Entity, procoreID int64) error {
	return e.Generations.NextGeneration(ctx, e.Company, entity.String(), procoreID, request)
}

// Generation is the order of the ERP request that ended the record's last life; "": it is in its first.
func (e *ERP) Generation(ctx context.Context, entity tiebackv1.Entity, procoreID int64) (order.Key, error) {
	return e.Generations.Generation(ctx, e.Company, entity.String(), procoreID)
}

// Close closes the driver.
func (e *ERP) Close() error { return e.driver.Close() }
