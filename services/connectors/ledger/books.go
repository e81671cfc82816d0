package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Version of the ledger, as Capabilities tells it.
const Version = "1.0.0"

// Books are one company's ledger, a connector.Driver. All methods may be called
// concurrently and by several processes; nothing is cached. Errors are classed with
// package fault: a refusal is permanent and carries the field and a sentence, a busy or
// failing disk is transient and nothing was written, a COMMIT that failed is ambiguous.
// A context that ends before a write begins gives the context's error.
type Books struct {
	*store
	company int64
	release func() error
}

var _ connector.Driver = (*Books)(nil)

// Close gives the books back; the last user's Close closes the file. Twice is harmless.
func (b *Books) Close() error { return b.release() }

// Capabilities says that the ledger has every entity and can do everything with it. What it takes
// beside the amounts follows from the accounts that an entity moves.
func (b *Books) Capabilities(ctx context.Context, req *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	if err := b.mine(req.GetCompanyId()); err != nil {
		return nil, err
	}
	own, err := b.Currency(ctx)
	if err != nil {
		return nil, err
	}
	out := &tiebackv1.CapabilitiesResponse{Name: "Tieback Ledger", Version: Version, Currency: own}
	for _, t := range traits {
		rule, moves := rules[t.entity]
		out.Entities = append(out.Entities, &tiebackv1.EntityCapability{
			Entity: t.entity, Put: true, Update: t.put, List: true, State: true, Remove: true,
			Tax: rule.tax != 0, Retainage: rule.retainage != 0 || contract(t.entity), Currency: moves || t.entity == JobCost,
		})
	}
	return out, nil
}

// Put books a record under its key; the same key again is answered with the first booking,
// also after the record was deleted. The request's record is not changed.
func (b *Books) Put(ctx context.Context, req *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	if err := b.mine(req.GetCompanyId()); err != nil {
		return nil, err
	}
	if req.GetKey() == "" || req.GetRecord() == nil {
		return nil, fault.Refused("key", "The ledger books nothing without a key and a record.")
	}
	res := &tiebackv1.PutResponse{}
	err := b.writer.do(ctx, func(t *tx) (err error) {
		res.Booking, err = t.put(req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// Find gives the booking of a key. No booking in the answer: never booked.
func (b *Books) Find(ctx context.Context, req *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	if err := b.mine(req.GetCompanyId()); err != nil {
		return nil, err
	}
	var raw []byte
	var entity int32
	err := b.reader.QueryRowContext(ctx, findKey, req.GetKey()).Scan(&raw, &entity)
	if errors.Is(err, sql.ErrNoRows) || err == nil && req.GetEntity() != 0 && Entity(entity) != req.GetEntity() {
		return &tiebackv1.FindResponse{}, nil
	}
	if err != nil {
		return nil, b.failed(err)
	}
	found := &tiebackv1.Booking{}
	if err := proto.Unmarshal(raw, found); err != nil {
		return nil, fault.New(fault.Permanent, fmt.Errorf("ledger: key %s: %w", req.GetKey(), err))
	}
	return &tiebackv1.FindResponse{Booking: found}, nil
}

// State says whether a record is in the books, was deleted, or was never there.
func (b *Books) State(ctx context.Context, req *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	if err := b.mine(req.GetCompanyId()); err != nil {
		return nil, err
	}
	r, err := b.row(ctx, req.GetEntity(), req.GetOriginId())
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_UNKNOWN}, nil
	case r.deleted:
		return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_DELETED}, nil
	}
	return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_PRESENT}, nil
}

// Remove takes a record out of the books; see remove.go for what goes along and what forbids it.
// Twice is harmless, and so is a record the ledger never had.
func (b *Books) Remove(ctx context.Context, req *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	if err := b.mine(req.GetCompanyId()); err != nil {
		return nil, err
	}
	err := b.writer.do(ctx, func(t *tx) error {
		r, err := t.find(req.GetEntity(), req.GetOriginId())
		if err != nil || r == nil {
			return err
		}
		superseded, err := t.superseded(r.id, req)
		switch {
		case err != nil:
			return err
		case superseded && !r.deleted:
			return refuseSuperseded(r.rec)
		}
		return t.remove(r, "removed "+req.GetKey())
	})
	if err != nil {
		return nil, err
	}
	return &tiebackv1.RemoveResponse{}, nil
}

// mine refuses a request for another company; 0 stands for the one whose books these are.
func (b *Books) mine(company int64) error {
	if company == 0 || company == b.company {
		return nil
	}
	return fault.New(fault.Permanent, fmt.Errorf("ledger: asked for company %d in the books of company %d", company, b.company))
}

// row reads a record, deleted or not; nil: the ledger never had it.
func (b *Books) row(ctx context.Context, e Entity, origin string) (*row, error) {
	r, err := scanRow(b.reader.QueryRowContext(ctx, findRow, int(e), origin))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return r, b.failed(err)
}

// failed classes an error of reading.
func (b *Books) failed(err error) error {
	if err != nil && err.Error() == "sql: database is closed" { // database/sql has no sentinel for it
		return ErrClosed
	}
	return classed(err)
}
