// Package remote speaks the connector contract over gRPC, so that an ERP's connector can
// be a process of its own, in any language.
//
// Settings of the driver, in the companies file: address, the connector's host:port.
package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// MaxMessage is how large a call or answer may be, in bytes: a page of 1,000 contracts with their lines.
const MaxMessage = 64 << 20

// callTimeout bounds one call of a connector.
const callTimeout = 30 * time.Second

// Open is the connector.Opener. It does not wait for the connector to be up.
func Open(_ context.Context, _ int64, settings map[string]string) (connector.Driver, error) {
	if settings["address"] == "" {
		return nil, errors.New("connector.address: is missing: the host:port of the connector")
	}
	conn, err := grpc.NewClient(settings["address"], grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)))
	if err != nil {
		return nil, fmt.Errorf("connector.address: %w", err)
	}
	return &client{conn: conn, rpc: tiebackv1.NewConnectorServiceClient(conn)}, nil
}

type client struct {
	conn *grpc.ClientConn
	rpc  tiebackv1.ConnectorServiceClient
}

// call makes one call within its deadline and classes its error.
func call[Q, A any](ctx context.Context, q Q, write bool, f func(context.Context, Q, ...grpc.CallOption) (A, error)) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, err := f(ctx, q)
	return a, classed(err, write)
}

func classed(err error, write bool) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	e := &fault.Error{Class: fault.Transient, Err: fmt.Errorf("connector: %s", s.Message())}
	for _, d := range s.Details() {
		if p, ok := d.(*tiebackv1.Problem); ok {
			e.Field, e.Sentence, e.RetryAfter = p.Field, p.Sentence, time.Duration(p.RetryAfterMs)*time.Millisecond
		}
	}
	switch s.Code() {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented, codes.NotFound:
		e.Class = fault.Permanent
	case codes.ResourceExhausted:
		if e.Class = fault.Throttled; e.RetryAfter == 0 { // gRPC's own: a message larger than it takes
			e.Class = fault.Permanent
		}
	case codes.Canceled: // the caller went away
		e.Err = fmt.Errorf("connector: %s: %w", s.Message(), context.Canceled)
	case codes.Aborted: // the connector says that nothing happened
	default:
		if write {
			e.Class = fault.Ambiguous
		}
	}
	return e
}

func (c *client) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return call(ctx, q, false, c.rpc.Capabilities)
}

func (c *client) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	return call(ctx, q, true, c.rpc.Put)
}

func (c *client) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	return call(ctx, q, false, c.rpc.Find)
}

func (c *client) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return call(ctx, q, false, c.rpc.List)
}

func (c *client) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return call(ctx, q, false, c.rpc.State)
}

func (c *client) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return call(ctx, q, true, c.rpc.Remove)
}

func (c *client) Close() error { return c.conn.Close() }
