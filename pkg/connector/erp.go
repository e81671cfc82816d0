package connector

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Lives remembers when a record's life in the ERP ended; bus.State does.
type Lives interface {
	Life(ctx context.Context, company int64, entity string, itemID int64) (int64, error)
	EndLife(ctx context.Context, company int64, entity string, itemID, request int64) error
}

// Config is what a company's ERP needs beside its driver.
type Config struct {
	Company int64
	Lives   Lives
	Log     *zap.Logger // nil: none
	Metrics *Metrics    // nil: none
}

// ERP is the portable side of one company's connector. Its methods may be called
// concurrently; their errors are classed.
type ERP struct {
	Config
	driver Driver
	caps   capabilities
	slots  *semaphore.Weighted // set with the first capabilities
}

// New wraps a company's driver.
func New(d Driver, c Config) *ERP {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return &ERP{Config: c, driver: d, caps: capabilities{lock: make(chan struct{}, 1)}}
}

// Asked is the ERP request that a booking is made for.
type Asked struct {
	Request int64
	Again   bool // it was worked before, and how that ended is not known
}

// Book books a record for an ERP request, once however often it is called. A record without
// an origin id is created, one with an origin id changed in place.
//
//	may have been sent before       looked up by key before anything is sent
//	the answer was lost             looked up by key, then sent again by the same key, once
//	booked by an earlier request    changed in place where this one says something else
//
// Permanent errors of its own, beside the ERP's: a record that makes no sense, one that the
// ERP does not take, and a request that a newer one has overtaken.
func (e *ERP) Book(ctx context.Context, asked Asked, r *tiebackv1.Record) (*tiebackv1.Booking, error) {
	if err := validate(r); err != nil {
		return nil, err
	}
	if err := e.takes(ctx, r); err != nil {
		return nil, err
	}
	life, err := e.life(ctx, asked, r)
	if err != nil {
		return nil, err
	}
	key := Key(e.Company, r.Entity, r.ProcoreId, life)
	if r.OriginId != "" {
		key += fmt.Sprintf("/%d", asked.Request) // each change is a write of its own
	}
	stamp := stampOf(asked.Request, r)
	booking, err := e.write(ctx, asked, &tiebackv1.PutRequest{CompanyId: e.Company, Key: key, Record: r, Request: asked.Request, Stamp: stamp})
	if err != nil {
		return nil, err
	}
	if got := len(booking.GetLineOriginIds()); got != len(r.Lines) && !overtaken(booking, stamp) || booking.GetOriginId() == "" {
		return nil, fault.New(fault.Permanent, fmt.Errorf("connector booked %s as %q with %d of %d lines", Describe(r), booking.GetOriginId(), got, len(r.Lines)))
	}
	if r.OriginId != "" {
		return booking, nil
	}
	return e.settled(ctx, asked, r, life, stamp, booking)
}

// life is the life that a request books into. What an unlink or reset ended stays ended for
// the requests before it.
func (e *ERP) life(ctx context.Context, asked Asked, r *tiebackv1.Record) (int64, error) {
	life, err := e.Lives.Life(ctx, e.Company, r.Entity.String(), r.ProcoreId)
	if err == nil && asked.Request <= life {
		err = fault.Permanentf("A newer request has already unlinked or reset %s, so this one was not carried out.", Describe(r))
	}
	return life, err
}

// settled looks at a new record's booking once more: it may be an earlier request's, and the
// life it was booked into may have ended meanwhile.
func (e *ERP) settled(ctx context.Context, asked Asked, r *tiebackv1.Record, life int64, stamp string, b *tiebackv1.Booking) (*tiebackv1.Booking, error) {
	now, err := e.Lives.Life(ctx, e.Company, r.Entity.String(), r.ProcoreId)
	if err != nil {
		return nil, err
	}
	if now != life {
		return nil, fault.Permanentf("A newer request unlinked or reset %s while it was exported. It is in your ERP system as %s: delete it there if it is not wanted, or export it again.", Describe(r), b.OriginId)
	}
	if !overtaken(b, stamp) {
		return b, nil
	}
	change := proto.CloneOf(r)
	change.OriginId = b.OriginId
	return e.Book(ctx, asked, change)
}

// write books q, or finds it booked. An answer that was lost is looked up by key before
// the same is sent again.
func (e *ERP) write(ctx context.Context, asked Asked, q *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	if asked.Again {
		if b, err := e.find(ctx, q); b != nil || err != nil {
			return b, err
		}
	}
	b, err := e.put(ctx, q)
	if fault.ClassOf(err) == fault.Ambiguous && ctx.Err() == nil {
		e.Log.Warn("looking up what became of a write", zap.Int64("company", e.Company), zap.String("key", q.Key), zap.Error(err))
		found, findErr := e.find(ctx, q)
		if found != nil {
			return found, nil
		}
		if findErr != nil {
			return nil, err // looked up again when the event comes back
		}
		b, err = e.put(ctx, q)
	}
	if fault.ClassOf(err) == fault.Permanent && fault.Field(err) == "request" {
		err = fault.Permanentf("A newer request has already changed %s in your ERP system, so this one was not carried out.", Describe(q.Record))
	}
	return b, err
}

func (e *ERP) put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	a, err := call(ctx, e, "put", writes, q, e.driver.Put)
	return a.GetBooking(), err
}

// find gives the booking of q's key; nil: never booked.
func (e *ERP) find(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	a, err := call(ctx, e, "find", reads, &tiebackv1.FindRequest{CompanyId: e.Company, Key: q.Key, Entity: q.Record.Entity}, e.driver.Find)
	return a.GetBooking(), err
}

// Changes pages through an entity's records that changed since req.Cursor. The last
// page's cursor is where the next sync starts, once Procore has all pages.
func (e *ERP) Changes(ctx context.Context, req *tiebackv1.ListRequest) iter.Seq2[*tiebackv1.ListResponse, error] {
	return func(yield func(*tiebackv1.ListResponse, error) bool) {
		if err := e.lists(ctx, req.Entity); err != nil {
			yield(nil, err)
			return
		}
		for {
			req.CompanyId = e.Company
			page, err := call(ctx, e, "list", reads, req, e.driver.List)
			if err == nil && page.More && page.Cursor == req.Cursor {
				err = fault.New(fault.Permanent, fmt.Errorf("connector says there are more %s but its cursor %q stands still", Plural(req.Entity), page.Cursor))
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
func (e *ERP) Remove(ctx context.Context, request int64, entity tiebackv1.Entity, originID string) error {
	if err := e.removes(ctx, entity); err != nil {
		return err
	}
	_, err := call(ctx, e, "remove", writes, &tiebackv1.RemoveRequest{
		CompanyId: e.Company, Entity: entity, OriginId: originID, Key: fmt.Sprintf("%d/reset/%d", e.Company, request),
	}, e.driver.Remove)
	return err
}

// EndLife notes, before Procore is told, that request ended the record's life: a later
// export books anew, an earlier one is refused.
func (e *ERP) EndLife(ctx context.Context, request int64, entity tiebackv1.Entity, procoreID int64) error {
	return e.Lives.EndLife(ctx, e.Company, entity.String(), procoreID, request)
}

// Life is the ERP request that ended the record's last life; 0: it is in its first.
func (e *ERP) Life(ctx context.Context, entity tiebackv1.Entity, procoreID int64) (int64, error) {
	return e.Lives.Life(ctx, e.Company, entity.String(), procoreID)
}

// Close closes the driver.
func (e *ERP) Close() error { return e.driver.Close() }

// overtaken says whether a booking is an earlier request's and the record says something
// else by now; see stampOf.
func overtaken(b *tiebackv1.Booking, stamp string) bool {
	request, content, _ := strings.Cut(stamp, ":")
	wasRequest, wasContent, ok := strings.Cut(b.GetStamp(), ":")
	return ok && wasRequest != request && wasContent != content
}
