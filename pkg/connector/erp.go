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

// Generations stores the generation of each record; state.State implements it.
type Generations interface {
	Generation(ctx context.Context, company int64, entity string, itemID int64) (order.Key, error)
	NextGeneration(ctx context.Context, company int64, entity string, itemID int64, request order.Key) error
}

// Config configures the ERP of a company.
type Config struct {
	Company     int64
	Generations Generations
	Log         *zap.Logger // nil: none
	Metrics     *Metrics    // nil: none
}

// ERP is the ERP of one company, as Tieback calls it. Its methods may be called concurrently. Their errors are
// classed.
type ERP struct {
	Config
	driver  Driver
	caps    capabilities
	calls   *semaphore // set with the first capabilities
	recent  recent
	trouble trouble.Tracker
}

// New returns the ERP of a company's driver.
func New(d Driver, c Config) *ERP {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return &ERP{Config: c, driver: d, caps: capabilities{lock: make(chan struct{}, 1)}}
}

// Changes pages through the records of an entity that changed since req.Cursor. The next sync starts at the
// cursor of the last page, once Procore has all pages. A connector whose pages never end is a permanent
// error.
func (e *ERP) Changes(ctx context.Context, req *tiebackv1.ListRequest) iter.Seq2[*tiebackv1.ListResponse, error] {
	return func(yield func(*tiebackv1.ListResponse, error) bool) {
		if err := e.checkList(ctx, req.Entity); err != nil {
			yield(nil, err)
			return
		}
		req.CompanyId = e.Company
		all := newListing(req)
		for {
			page, err := call(ctx, e, "list", readCall, req, e.driver.List)
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

// State returns whether the ERP has a record.
func (e *ERP) State(ctx context.Context, entity tiebackv1.Entity, originID string) (tiebackv1.RecordState, error) {
	if originID == "" {
		return tiebackv1.RecordState_RECORD_STATE_UNKNOWN, nil
	}
	if err := e.checkState(ctx, entity); err != nil {
		return 0, err
	}
	a, err := call(ctx, e, "state", readCall, &tiebackv1.StateRequest{CompanyId: e.Company, Entity: entity, OriginId: originID}, e.driver.State)
	if err == nil && a.State == tiebackv1.RecordState_RECORD_STATE_UNSPECIFIED {
		err = fault.New(fault.Permanent, errors.New("connector returned no state of "+originID))
	}
	return a.GetState(), err
}

// Remove removes a record from the books, for a reset or because the record was deleted in Procore. It is idempotent.
func (e *ERP) Remove(ctx context.Context, request order.Key, entity tiebackv1.Entity, originID string) error {
	if err := e.checkRemove(ctx, entity); err != nil {
		return err
	}
	_, err := call(ctx, e, "remove", writeCall, &tiebackv1.RemoveRequest{
		CompanyId: e.Company, Entity: entity, OriginId: originID, Key: fmt.Sprintf("%d/reset/%d", e.Company, request.Request()),
		Request: request.Request(), Order: string(request), OrderLatest: string(request.Latest()),
	}, e.driver.Remove)
	if fault.ClassOf(err) == fault.Permanent && fault.Field(err) == "request" {
		err = fault.Permanentf("%s has already changed the %s %s in your ERP system, so it was not removed there. If it should still be removed, delete it in your ERP system, or repeat your request.", newerRequest, Noun(entity), originID)
	}
	return err
}

// NextGeneration starts a record's next generation: a later export makes a new booking, and an earlier one is
// refused. Call it before the unlink or reset is reported to Procore.
func (e *ERP) NextGeneration(ctx context.Context, request order.Key, entity tiebackv1.Entity, procoreID int64) error {
	return e.Generations.NextGeneration(ctx, e.Company, entity.String(), procoreID, request)
}

// Generation returns the order of the ERP request that started the record's generation, or "" in its first
// generation.
func (e *ERP) Generation(ctx context.Context, entity tiebackv1.Entity, procoreID int64) (order.Key, error) {
	return e.Generations.Generation(ctx, e.Company, entity.String(), procoreID)
}

// Close closes the driver.
func (e *ERP) Close() error { return e.driver.Close() }
