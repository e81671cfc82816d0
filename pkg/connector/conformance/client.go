package conformance

import (
	"context"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// client is a worker process as the connector sees it: it keeps to the concurrency limit that the connector
// declares.
type client struct {
	driver connector.Driver
	sem    chan struct{} // nil: unlimited
}

func newClient(d connector.Driver, atOnce int32) *client {
	c := &client{driver: d}
	if atOnce > 0 {
		c.sem = make(chan struct{}, atOnce)
	}
	return c
}

func limited[Q, A any](ctx context.Context, c *client, q Q, f func(context.Context, Q) (A, error)) (A, error) {
	if c.sem == nil {
		return f(ctx, q)
	}
	select {
	case c.sem <- struct{}{}:
		defer func() { <-c.sem }()
	case <-ctx.Done():
		var none A
		return none, fault.New(fault.Transient, ctx.Err())
	}
	return f(ctx, q)
}

func (c *client) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return limited(ctx, c, q, c.driver.Capabilities)
}

func (c *client) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	return limited(ctx, c, q, c.driver.Put)
}

func (c *client) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	return limited(ctx, c, q, c.driver.Find)
}

func (c *client) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return limited(ctx, c, q, c.driver.List)
}

func (c *client) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return limited(ctx, c, q, c.driver.State)
}

func (c *client) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return limited(ctx, c, q, c.driver.Remove)
}

func (c *client) Close() error { return c.driver.Close() }
