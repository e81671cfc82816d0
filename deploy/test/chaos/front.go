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

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// front stands before the ERP and answers as a moody one does: what a link can't do, as it
// does not know where a call begins.
type front struct {
	tiebackv1.UnimplementedConnectorServiceServer
	addr   string
	conn   *grpc.ClientConn
	rpc    tiebackv1.ConnectorServiceClient
	server *grpc.Server
	done   chan struct{}

	mu   sync.Mutex
	mood mood
	rng  *rand.Rand
}

// mood is what becomes of a share of the calls.
type mood struct {
	kind  string // busy, broken, hangs, loses; "": nothing
	share float64
}

func openFront(p *ports, upstream string) (*front, error) {
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
	f := &front{addr: addr, conn: conn, rpc: tiebackv1.NewConnectorServiceClient(conn), server: grpc.NewServer(), done: make(chan struct{}), rng: rand.New(rand.NewPCG(1, 2))}
	tiebackv1.RegisterConnectorServiceServer(f.server, f)
	go func() {
		defer close(f.done)
		_ = f.server.Serve(l)
	}()
	return f, nil
}

func (f *front) close() {
	f.server.Stop()
	<-f.done
	_ = f.conn.Close()
}

func (f *front) set(m mood) {
	f.mu.Lock()
	f.mood = m
	f.mu.Unlock()
}

func (f *front) roll() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mood.kind == "" || f.rng.Float64() >= f.mood.share {
		return ""
	}
	return f.mood.kind
}

// pass hands a call on, or not.
func pass[Q, A any](ctx context.Context, f *front, q Q, call func(context.Context, Q, ...grpc.CallOption) (A, error)) (A, error) {
	var none A
	switch f.roll() {
	case "busy": // what an HTTP API says by 429
		s, err := status.New(codes.ResourceExhausted, "chaos: busy").WithDetails(&tiebackv1.Problem{RetryAfterMs: 700})
		if err != nil {
			return none, err
		}
		return none, s.Err()
	case "broken": // by 500
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

func (f *front) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return pass(ctx, f, q, f.rpc.Capabilities)
}

func (f *front) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	return pass(ctx, f, q, f.rpc.Put)
}

func (f *front) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	return pass(ctx, f, q, f.rpc.Find)
}

func (f *front) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return pass(ctx, f, q, f.rpc.List)
}

func (f *front) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return pass(ctx, f, q, f.rpc.State)
}

func (f *front) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return pass(ctx, f, q, f.rpc.Remove)
}

// refused says whether an ERP's no is final.
func refused(err error) bool {
	var e *fault.Error
	return errors.As(err, &e) && e.Class == fault.Permanent
}
