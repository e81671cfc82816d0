package conformance

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

type (
	putFunc  func(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error)
	listFunc func(context.Context, *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error)
)

// broken overrides calls of a correct driver.
type broken struct {
	connector.Driver
	caps   func(*tiebackv1.CapabilitiesResponse)
	put    putFunc
	list   listFunc
	find   func(*tiebackv1.FindRequest)
	state  func(*tiebackv1.StateResponse)
	remove func(context.Context, *tiebackv1.RemoveRequest) error
}

func (b *broken) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	a, err := b.Driver.Capabilities(ctx, q)
	if b.caps != nil && a != nil {
		b.caps(a)
	}
	return a, err
}

func (b *broken) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	if b.put != nil {
		return b.put(ctx, proto.CloneOf(q))
	}
	return b.Driver.Put(ctx, q)
}

func (b *broken) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	if b.list != nil {
		return b.list(ctx, proto.CloneOf(q))
	}
	return b.Driver.List(ctx, q)
}

func (b *broken) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	if b.find != nil {
		q = proto.CloneOf(q)
		b.find(q)
	}
	return b.Driver.Find(ctx, q)
}

func (b *broken) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	a, err := b.Driver.State(ctx, q)
	if b.state != nil && a != nil {
		b.state(a)
	}
	return a, err
}

func (b *broken) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	if b.remove != nil {
		if err := b.remove(ctx, q); err != nil {
			return nil, err
		}
	}
	return b.Driver.Remove(ctx, q)
}

// replacingPut makes a flaw of Put.
func replacingPut(f func(d connector.Driver, e *erp) putFunc) func(connector.Driver, *erp) connector.Driver {
	return func(d connector.Driver, e *erp) connector.Driver { return &broken{Driver: d, put: f(d, e)} }
}

// changingPut makes a flaw that changes the request of Put.
func changingPut(change func(*tiebackv1.PutRequest)) func(connector.Driver, *erp) connector.Driver {
	return replacingPut(func(d connector.Driver, _ *erp) putFunc {
		return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
			change(q)
			return d.Put(ctx, q)
		}
	})
}

// changingBooking makes a flaw that changes the booking that Put returns.
func changingBooking(change func(*tiebackv1.Booking)) func(connector.Driver, *erp) connector.Driver {
	return replacingPut(func(d connector.Driver, _ *erp) putFunc {
		return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
			a, err := d.Put(ctx, q)
			if err == nil {
				change(a.Booking)
			}
			return a, err
		}
	})
}

// changingError makes a flaw that changes the error of Put; if change returns nil, Put returns a booking.
func changingError(change func(error) error) func(connector.Driver, *erp) connector.Driver {
	return replacingPut(func(d connector.Driver, _ *erp) putFunc {
		return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
			a, err := d.Put(ctx, q)
			if err == nil {
				return a, nil
			}
			if err = change(err); err != nil {
				return nil, err
			}
			b := &tiebackv1.Booking{OriginId: "M-0", Stamp: q.Stamp}
			for i := range q.Record.Lines {
				b.LineOriginIds = append(b.LineOriginIds, fmt.Sprint("M-0-", i))
			}
			return &tiebackv1.PutResponse{Booking: b}, nil
		}
	})
}

// replacingList makes a flaw of List.
func replacingList(f func(d connector.Driver) listFunc) func(connector.Driver, *erp) connector.Driver {
	return func(d connector.Driver, _ *erp) connector.Driver { return &broken{Driver: d, list: f(d)} }
}

// changingPage makes a flaw that changes each page.
func changingPage(change func(*tiebackv1.ListResponse)) func(connector.Driver, *erp) connector.Driver {
	return replacingList(func(d connector.Driver) listFunc {
		return func(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
			a, err := d.List(ctx, q)
			if err == nil {
				change(a)
			}
			return a, err
		}
	})
}

// changingList makes a flaw that changes the request of List.
func changingList(change func(*tiebackv1.ListRequest)) func(connector.Driver, *erp) connector.Driver {
	return replacingList(func(d connector.Driver) listFunc {
		return func(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
			change(q)
			return d.List(ctx, q)
		}
	})
}
