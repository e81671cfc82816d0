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

// Version is the version of the ledger that Capabilities returns.
const Version = "1.0.0"

// Books are one company's ledger, a connector.Driver. All methods may be called concurrently and by several processes;
// nothing is cached. Errors are classified with package fault: a refusal is permanent and has the field and a message,
// a busy or failing disk is transient and nothing was written, a failed COMMIT is ambiguous. If the context ends before
// a write begins, the error is that of the context.
type Books struct {
	*store
	company int64
	release func() error
}

var _ connector.Driver = (*Books)(nil)

// Close releases the books; the Close of the last user closes the file. Further calls have no effect.
func (b *Books) Close() error { return b.release() }

// Capabilities declares every operation of every entity. Tax, retainage and currencies follow from the accounts that an
// entity moves.
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

// Put books a record under its key. The same key always returns the first booking, also after the record was deleted.
// Put does not change the record of the request.
func (b *Books) Put(ctx context.Context, req *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	if err := b.mine(req.GetCompanyId()); err != nil {
		return nil, err
	}
	if req.GetKey() == "" || req.GetRecord() == nil {
		return nil, fault.Refused("key", "A put needs a key and a record.")
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

// Find returns the booking of a key. A response without a booking means that the key was never booked.
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

// State returns whether a record is present, deleted or unknown.
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

// Remove removes a record from the books; remove.go lists what is removed with it and what prevents it. Removing a
// record that is deleted or unknown has no effect.
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

// mine refuses a request for another company. 0 means the company of these books.
func (b *Books) mine(company int64) error {
	if company == 0 || company == b.company {
		return nil
	}
	return fault.New(fault.Permanent, fmt.Errorf("ledger: request for company %d in the books of company %d", company, b.company))
}

// row reads a record, deleted or not. It returns nil for an unknown one.
func (b *Books) row(ctx context.Context, e Entity, origin string) (*row, error) {
	r, err := scanRow(b.reader.QueryRowContext(ctx, findRow, int(e), origin))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return r, b.failed(err)
}

// failed classifies an error of a read.
func (b *Books) failed(err error) error {
	if err != nil && err.Error() == "sql: database is closed" { // database/sql has no sentinel for it
		return ErrClosed
	}
	return classed(err)
}
