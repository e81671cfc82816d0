package tryton

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Tryton numbers the rows of each table from 1. For Procore, an origin id is unique within an item type: the
// lines of purchases and sales are both line_item, and their change orders are both change_order. So outside
// of Tryton the ids of sales and of their lines have a prefix: S12.
const sale = "S"

// isSale reports whether an entity is a sale in Tryton.
func isSale(e entity) bool { return modelOf(e) == sells }

// ofSale reports whether the contract of an entity is a sale.
func ofSale(e entity) bool { return connector.ContractOf(e) == primeContract }

// named is a driver that adds and removes the prefix of origin ids.
type named struct{ connector.Driver }

func (n named) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	q = proto.CloneOf(q)
	if q.Record != nil {
		eachID(q.Record, inside)
	}
	a, err := n.Driver.Put(ctx, q)
	if err != nil {
		return nil, err
	}
	return &tiebackv1.PutResponse{Booking: bookingOutside(q.GetRecord().GetEntity(), a.GetBooking())}, nil
}

func (n named) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	a, err := n.Driver.Find(ctx, q)
	if err != nil {
		return nil, err
	}
	return &tiebackv1.FindResponse{Booking: bookingOutside(q.GetEntity(), a.GetBooking())}, nil
}

func (n named) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	a, err := n.Driver.List(ctx, q)
	for _, c := range a.GetChanges() {
		eachID(c.GetRecord(), outside)
	}
	return a, err
}

func (n named) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	q = proto.CloneOf(q)
	if isSale(q.GetEntity()) {
		q.OriginId = inside(q.OriginId)
	}
	return n.Driver.State(ctx, q)
}

func (n named) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	q = proto.CloneOf(q)
	if isSale(q.GetEntity()) {
		q.OriginId = inside(q.OriginId)
	}
	return n.Driver.Remove(ctx, q)
}

// eachID changes the origin ids of sales in a record.
func eachID(r *record, change func(string) string) {
	if isSale(r.Entity) {
		r.OriginId = change(r.OriginId)
	}
	if ofSale(r.Entity) {
		r.ContractOriginId = change(r.ContractOriginId)
	}
	for _, l := range r.Lines {
		if isSale(r.Entity) {
			l.OriginId = change(l.OriginId)
		}
		if ofSale(r.Entity) {
			l.ContractLineOriginId = change(l.ContractLineOriginId)
		}
	}
}

func bookingOutside(e entity, b *tiebackv1.Booking) *tiebackv1.Booking {
	if b == nil || !isSale(e) {
		return b
	}
	b.OriginId = outside(b.OriginId)
	for i, l := range b.LineOriginIds {
		b.LineOriginIds[i] = outside(l)
	}
	return b
}

func outside(id string) string {
	if id == "" {
		return ""
	}
	return sale + id
}

// inside returns Tryton's id. For an id without the prefix it returns an id that Tryton does not have.
func inside(id string) string {
	if plain, ours := strings.CutPrefix(id, sale); ours || id == "" {
		return plain
	}
	return "no " + id
}
