package remote

import (
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Resolver returns the driver of a company, for a connector that serves several. Its errors mean that nothing
// happened.
type Resolver func(ctx context.Context, companyID int64) (connector.Driver, error)

// Register registers drivers as the contract's gRPC service, without what Serve adds. The caller closes the
// drivers. GracefulStop waits for open streams, which Tieback ends after a minute; Serve ends them at once.
func Register(s *grpc.Server, resolve Resolver) {
	tiebackv1.RegisterConnectorServiceServer(s, newServer(resolve, nil, nil))
}

type server struct {
	tiebackv1.UnimplementedConnectorServiceServer
	resolve  Resolver
	put      grpc.UnaryHandler // calls Put with the interceptors of a call, for a record of a stream
	stopping <-chan struct{}   // nil: never closed
}

// newServer returns a server whose streams pass each record through interceptors, as gRPC does with a call, and end when
// stopping is closed.
func newServer(resolve Resolver, interceptors []grpc.UnaryServerInterceptor, stopping <-chan struct{}) *server {
	s := &server{resolve: resolve, stopping: stopping}
	s.put = func(ctx context.Context, q any) (any, error) { return s.Put(ctx, q.(*tiebackv1.PutRequest)) }
	info := &grpc.UnaryServerInfo{Server: s, FullMethod: tiebackv1.ConnectorService_PutStream_FullMethodName}
	for _, intercept := range slices.Backward(interceptors) {
		next := s.put
		s.put = func(ctx context.Context, q any) (any, error) { return intercept(ctx, q, info, next) }
	}
	return s
}

// serve calls a company's driver and turns its error into a status.
func serve[Q interface{ GetCompanyId() int64 }, A any](ctx context.Context, s *server, q Q, write bool, f func(connector.Driver) (A, error)) (A, error) {
	d, err := s.resolve(ctx, q.GetCompanyId())
	if err != nil {
		var none A
		return none, statusOf(err, false)
	}
	a, err := f(d)
	return a, statusOf(err, write)
}

var codeOf = map[fault.Class]codes.Code{
	fault.Permanent: codes.FailedPrecondition, fault.Transient: codes.Aborted,
	fault.Throttled: codes.ResourceExhausted, fault.Ambiguous: codes.Unknown,
}

// statusOf returns the status of an error's class. An unclassified error of a write becomes ambiguous, as it
// is not known whether the write happened.
func statusOf(err error, write bool) error {
	if err == nil {
		return nil
	}
	class := fault.ClassOf(err)
	var known *fault.Error
	if write && !errors.As(err, &known) {
		class = fault.Ambiguous
		if errors.Is(err, context.DeadlineExceeded) { // as gRPC says it itself, if the caller's timer is the first one
			return status.Error(codes.DeadlineExceeded, utf8(err.Error()))
		}
	}
	p := &tiebackv1.Problem{Field: utf8(fault.Field(err)), UserMessage: utf8(fault.UserMessage(err, ""))}
	if class == fault.Throttled {
		p.RetryAfterMs = max(fault.RetryAfter(err).Milliseconds(), 1)
	}
	return problem(codeOf[class], err.Error(), p)
}

func problem(code codes.Code, message string, p *tiebackv1.Problem) error {
	s := status.New(code, utf8(message))
	if with, err := s.WithDetails(p); err == nil {
		s = with
	}
	return s.Err()
}

// utf8 makes a text valid for a protobuf message.
func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func (s *server) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	a, err := serve(ctx, s, q, false, func(d connector.Driver) (*tiebackv1.CapabilitiesResponse, error) { return d.Capabilities(ctx, q) })
	if a != nil {
		a = proto.CloneOf(a) // the driver may keep it
		a.PutStream = true
	}
	return a, err
}

func (s *server) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	return serve(ctx, s, q, true, func(d connector.Driver) (*tiebackv1.PutResponse, error) { return d.Put(ctx, q) })
}

func (s *server) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	return serve(ctx, s, q, false, func(d connector.Driver) (*tiebackv1.FindResponse, error) { return d.Find(ctx, q) })
}

func (s *server) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return serve(ctx, s, q, false, func(d connector.Driver) (*tiebackv1.ListResponse, error) { return d.List(ctx, q) })
}

func (s *server) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return serve(ctx, s, q, false, func(d connector.Driver) (*tiebackv1.StateResponse, error) { return d.State(ctx, q) })
}

func (s *server) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return serve(ctx, s, q, true, func(d connector.Driver) (*tiebackv1.RemoveResponse, error) { return d.Remove(ctx, q) })
}
