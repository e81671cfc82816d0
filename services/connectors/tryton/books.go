package tryton

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Books are the books of one company in Tryton. It is a connector.Driver. All methods may be called
// concurrently, and from several processes. Errors are classed; see classes.go.
type Books struct {
	rpc    *client
	config config
	id     int64 // Procore's id of the company

	mu    *sync.Mutex // held while facts are loaded
	facts *facts
	asked time.Time // when facts were loaded
}

var _ connector.Driver = (*Books)(nil)

// maxConcurrent is the number of concurrent calls that a trytond handles without losing time to locks.
const maxConcurrent = 4

// Capabilities returns what Tryton 6.0 has: no budgets, no insurances, and no changes of documents. Tax and
// retainage of documents are separate lines. Payments are in the company's currency.
func (b *Books) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	if err := b.mine(q.GetCompanyId()); err != nil {
		return nil, err
	}
	version, err := b.rpc.version(ctx)
	if err != nil {
		return nil, err
	}
	facts, err := b.company(ctx, q.GetCompanyId())
	if err != nil {
		return nil, err
	}
	out := &tiebackv1.CapabilitiesResponse{Name: "Tryton", Version: version, MaxConcurrent: maxConcurrent, Currency: facts.Code}
	for _, t := range traits {
		document := t.model == buys || t.model == sells || t.model == invoices
		out.Entities = append(out.Entities, &tiebackv1.EntityCapability{
			Entity: t.entity, Put: t.put, Update: t.update, List: true, State: true, Remove: true,
			Tax: document, Retainage: document, Currency: document,
		})
	}
	return out, nil
}

// Find returns the booking of a key. A response without a booking means that the key was never booked.
func (b *Books) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	if err := b.mine(q.GetCompanyId()); err != nil {
		return nil, err
	}
	l, err := b.look(ctx, q.GetKey(), nil)
	if err != nil || l.Booking == "" || q.GetEntity() != 0 && l.Entity != name(q.GetEntity()) {
		return &tiebackv1.FindResponse{}, err
	}
	found, err := bookingOf(l.Booking)
	return &tiebackv1.FindResponse{Booking: found}, err
}

// State returns whether a record is in the books, was deleted, archived, cancelled or reversed, or never
// existed.
func (b *Books) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	if err := b.mine(q.GetCompanyId()); err != nil {
		return nil, err
	}
	if err := knows(q.GetEntity()); err != nil {
		return nil, err
	}
	l, err := b.look(ctx, "", []connector.Reference{{Entity: q.GetEntity(), OriginID: q.GetOriginId()}})
	if err != nil {
		return nil, err
	}
	state := tiebackv1.RecordState_RECORD_STATE_UNKNOWN
	switch f := l.Mappings[0]; {
	case f == nil:
	case f.Live:
		state = tiebackv1.RecordState_RECORD_STATE_PRESENT
	default:
		state = tiebackv1.RecordState_RECORD_STATE_DELETED
	}
	return &tiebackv1.StateResponse{State: state}, nil
}

// Remove removes a record from the books; module/tieback/remove.py documents what is removed with it and what
// prevents it. It is idempotent, and accepts a record that Tryton never had.
func (b *Books) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	f, err := b.company(ctx, q.GetCompanyId())
	if err != nil {
		return nil, err
	}
	if err := knows(q.GetEntity()); err != nil {
		return nil, err
	}
	err = b.rpc.callWith(ctx, writes, f.context(), nil, "model.tieback.remove.remove", name(q.GetEntity()), q.GetOriginId(), q.GetOrder(), q.GetOrderLatest())
	if err != nil {
		return nil, err
	}
	return &tiebackv1.RemoveResponse{}, nil
}

// Close does nothing: a session expires by itself.
func (b *Books) Close() error { return nil }

// knows returns an error for an entity that Tryton does not have.
func knows(e entity) error {
	if _, ok := traitOf(e); ok {
		return nil
	}
	return fault.Permanentf("Tryton has no %s.", connector.Plural(e))
}

// mine returns an error for a request for another company. 0 stands for the company of these books.
func (b *Books) mine(company int64) error {
	if company == 0 || company == b.id {
		return nil
	}
	return fault.New(fault.Permanent, fmt.Errorf("tryton: asked for company %d in the books of company %d", company, b.id))
}

// looked is the module's knowledge of a key and of the references of a record.
type looked struct {
	Booking  string
	Entity   string
	Mappings []*mapping
}

func (b *Books) look(ctx context.Context, key string, refs []connector.Reference) (looked, error) {
	ask := make([][2]string, len(refs))
	for i, r := range refs {
		ask[i] = [2]string{name(r.Entity), r.OriginID}
	}
	var l looked
	return l, b.rpc.call(ctx, reads, &l, "model.tieback.key.look", key, ask)
}

func bookingOf(raw string) (*tiebackv1.Booking, error) {
	b := &tiebackv1.Booking{}
	if err := json.Unmarshal([]byte(raw), b); err != nil { // its field names are those of the message
		return nil, fault.New(fault.Permanent, fmt.Errorf("tryton: malformed booking: %w", err))
	}
	return b, nil
}
