package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	tiebackfault "github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// faultProxy is a gRPC proxy of the ERP that makes a share of the calls fail. A link can't, because it forwards bytes.
type faultProxy struct {
	tiebackv1.UnimplementedConnectorServiceServer
	addr   string
	conn   *grpc.ClientConn
	rpc    tiebackv1.ConnectorServiceClient
	server *grpc.Server
	done   chan struct{}

	mu   sync.Mutex
	mode mode
	rng  *rand.Rand
}

// mode is how a share of the calls fails.
type mode struct {
	kind  string // busy, broken, hangs, loses; "": nothing
	share float64
}

func openFaultProxy(p *ports, upstream string) (*faultProxy, error) {
	addr, err := p.take()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(upstream, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	f := &faultProxy{addr: addr, conn: conn, rpc: tiebackv1.NewConnectorServiceClient(conn), server: grpc.NewServer(), done: make(chan struct{}), rng: rand.New(rand.NewPCG(1, 2))}
	tiebackv1.RegisterConnectorServiceServer(f.server, f)
	go func() {
		defer close(f.done)
		_ = f.server.Serve(l)
	}()
	return f, nil
}

func (f *faultProxy) close() {
	f.server.Stop()
	<-f.done
	_ = f.conn.Close()
}

func (f *faultProxy) set(m mode) {
	f.mu.Lock()
	f.mode = m
	f.mu.Unlock()
}

func (f *faultProxy) roll() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mode.kind == "" || f.rng.Float64() >= f.mode.share {
		return ""
	}
	return f.mode.kind
}

// pass forwards a call, or fails it as the mode says.
func pass[Q, A any](ctx context.Context, f *faultProxy, q Q, call func(context.Context, Q, ...grpc.CallOption) (A, error)) (A, error) {
	var none A
	switch f.roll() {
	case "busy": // like status 429 of an HTTP API
		s, err := status.New(codes.ResourceExhausted, "chaos: busy").WithDetails(&tiebackv1.Problem{RetryAfterMs: 700})
		if err != nil {
			return none, err
		}
		return none, s.Err()
	case "broken": // like status 500
		return none, status.Error(codes.Internal, "chaos: out of order")
	case "hangs":
		<-ctx.Done()
		return none, ctx.Err()
	case "loses":
		if _, err := call(context.WithoutCancel(ctx), q); err != nil {
			return none, err
		}
		return none, status.Error(codes.Unavailable, "chaos: the answer was lost")
	}
	return call(ctx, q)
}

func (f *faultProxy) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return pass(ctx, f, q, f.rpc.Capabilities)
}

func (f *faultProxy) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	return pass(ctx, f, q, f.rpc.Put)
}

func (f *faultProxy) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	return pass(ctx, f, q, f.rpc.Find)
}

func (f *faultProxy) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return pass(ctx, f, q, f.rpc.List)
}

func (f *faultProxy) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return pass(ctx, f, q, f.rpc.State)
}

func (f *faultProxy) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return pass(ctx, f, q, f.rpc.Remove)
}

// refused reports whether an ERP's refusal is permanent.
func refused(err error) bool {
	var e *tiebackfault.Error
	return errors.As(err, &e) && e.Class == tiebackfault.Permanent
}
