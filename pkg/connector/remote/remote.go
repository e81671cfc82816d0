// Package remote implements the connector contract over gRPC, so that a connector can be a separate process,
// in any language. Open is the driver; Serve is the server.
//
// The settings of the driver in the companies file. Each may be given as <name>_file, a path:
//
//	address       the connector's host:port
//	token         sent with each call as "authorization: Bearer <token>"
//	tls           on (the default), or off: plaintext, on the same host or in a private network only
//	ca            PEM, trusted instead of the system's roots
//	cert, key     PEM, the client certificate (mutual TLS)
//	server_name   the name in the connector's certificate, if it is not the host of address
//	timeout       of a call, as a Go duration up to 5m; 30s by default. An earlier deadline of the caller applies
//
// A token with tls: off is sent to the same host only.
package remote

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// MaxMessage is the maximum size of a request, or of the response to a List, in bytes: a page of 1,000
// contracts with 40 lines each.
const MaxMessage = 16 << 20

// maxAnswer is the maximum size of any other response, in bytes: a booking with the ids of 10,000 lines.
const maxAnswer = 1 << 20

// answers bounds the bytes of the answers that a process reads at once, of all connectors. An answer counts with its
// maximum size from the arrival of its headers until it is parsed. Bytes that arrive before that are bounded by window
// for each call: a worker makes 256 calls at once, which is 16 MiB.
var answers = semaphore.NewWeighted(2 * MaxMessage)

const (
	window     = 64 << 10
	connWindow = 1 << 20 // bytes in flight on a connection: 20 MB/s at a distance of 50 ms

	// maxHeaders is the maximum size of the headers of an answer, which have the text of an error, in bytes.
	maxHeaders = 1 << 20
)

// Open is the connector.Opener. It does not wait until the connector is up. It returns the errors of all
// invalid settings, each with its field.
func Open(_ context.Context, _ int64, all map[string]string) (connector.Driver, error) {
	s, err := parse(all)
	if err != nil {
		return nil, err
	}
	conn, err := s.dial()
	if err != nil {
		return nil, err
	}
	rpc := tiebackv1.NewConnectorServiceClient(conn)
	return &client{settings: s, conn: conn, rpc: rpc, streams: streams{rpc: rpc, age: streamAge, drain: s.timeout + drainMargin}}, nil
}

// Rehearses reports whether the connector that the settings name simulates faults; see package rehearsal. It waits
// until the connector is up.
func Rehearses(ctx context.Context, company int64, all map[string]string) (bool, error) {
	s, err := parse(all)
	if err != nil {
		return false, err
	}
	conn, err := s.dial()
	if err != nil {
		return false, err
	}
	defer conn.Close()
	var header metadata.MD
	_, err = tiebackv1.NewConnectorServiceClient(conn).Capabilities(ctx, &tiebackv1.CapabilitiesRequest{CompanyId: company},
		grpc.Header(&header), grpc.WaitForReady(true))
	return slices.Contains(header.Get(rehearsal.Header), "yes"), err
}

// OpenPutStream opens a stream of the connector that the settings name, for tests of the connector. The stream ends with ctx.
func OpenPutStream(ctx context.Context, all map[string]string) (grpc.BidiStreamingClient[tiebackv1.PutStreamRequest, tiebackv1.PutStreamResponse], error) {
	s, err := parse(all)
	if err != nil {
		return nil, err
	}
	conn, err := s.dial()
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return tiebackv1.NewConnectorServiceClient(conn).PutStream(ctx, grpc.WaitForReady(true))
}

// dial makes the connection, which is opened by its first call.
func (s *settings) dial() (*grpc.ClientConn, error) {
	opts := []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithStatsHandler(sentHandler{}),
		grpc.WithUnaryInterceptor(bounded), grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(connWindow), grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDisableServiceConfig(), // no retries through DNS: connector.ERP retries
		// A connector that was restarted is found again within seconds, rather than gRPC's two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// A ping detects a dead connection. At most two pings per call or stream: servers with gRPC's default policy
		// disconnect on the fourth.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: max(30*time.Second, s.timeout/2), Timeout: 10 * time.Second}),
	}
	if s.tls == nil { // a proxy is not in the same network
		opts = append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	} else {
		opts = append(opts, grpc.WithTransportCredentials(credentials.NewTLS(s.tls)))
	}
	if s.token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearer{token: s.token, tls: s.tls != nil}))
	}
	conn, err := grpc.NewClient(s.address, opts...)
	if err != nil {
		return nil, refused("address", "%v", err)
	}
	return conn, nil
}

// bearer adds the token to each call.
type bearer struct {
	token string
	tls   bool
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return b.tls }

func (bearer) String() string { return "[secret]" }

type client struct {
	*settings
	conn    *grpc.ClientConn
	rpc     tiebackv1.ConnectorServiceClient
	streams streams
}

// call makes one call within its deadline and classifies its error.
func call[Q, A any](ctx context.Context, c *client, q Q, write bool, f func(context.Context, Q, ...grpc.CallOption) (A, error)) (A, error) {
	if err := ctx.Err(); err != nil { // nothing was sent, so not even a write is ambiguous
		var none A
		return none, fault.New(fault.Transient, fmt.Errorf("connector at %s: not called: %w", c.address, err))
	}
	timed, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	timed, sent := withSent(timed)
	a, err := f(timed, q)
	if err != nil {
		err = c.classed(err, outcome{write: write, sent: sent.Load(), caller: ctx.Err()})
	}
	return a, err
}

// bounded makes a call and reads its answer when answers has room for it.
func bounded(ctx context.Context, method string, q, a any, cc *grpc.ClientConn, _ grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	s, err := cc.NewStream(ctx, &grpc.StreamDesc{}, method, opts...)
	if err != nil {
		return err
	}
	if err := s.SendMsg(q); err != nil {
		return err
	}
	if _, err := s.Header(); err != nil {
		return err
	}
	size := int64(maxAnswer)
	if method == tiebackv1.ConnectorService_List_FullMethodName {
		size = MaxMessage
	}
	if err := answers.Acquire(ctx, size); err != nil {
		return status.Errorf(status.FromContextError(err).Code(), "the answer was not read, as many large ones were read at once: %v", err)
	}
	defer answers.Release(size)
	return s.RecvMsg(a)
}

func (c *client) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	a, err := call(ctx, c, q, false, c.rpc.Capabilities)
	if err == nil {
		c.streams.offered.Store(a.PutStream)
	}
	return a, err
}

func (c *client) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	if c.streams.take(q) {
		return call(ctx, c, q, true, c.streams.put)
	}
	return call(ctx, c, q, true, c.rpc.Put)
}

func (c *client) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	return call(ctx, c, q, false, func(ctx context.Context, q *tiebackv1.FindRequest, opts ...grpc.CallOption) (*tiebackv1.FindResponse, error) {
		a, err := c.rpc.Find(ctx, q, opts...)
		if status.Code(err) == codes.NotFound { // gRPC's usual code for a key that was never booked
			return &tiebackv1.FindResponse{}, nil
		}
		return a, err
	})
}

func (c *client) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return call(ctx, c, q, false, func(ctx context.Context, q *tiebackv1.ListRequest, opts ...grpc.CallOption) (*tiebackv1.ListResponse, error) {
		return c.rpc.List(ctx, q, append(opts, grpc.MaxCallRecvMsgSize(MaxMessage))...)
	})
}

func (c *client) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return call(ctx, c, q, false, c.rpc.State)
}

func (c *client) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return call(ctx, c, q, true, c.rpc.Remove)
}

// Close ends the streams too.
func (c *client) Close() error {
	err := c.conn.Close()
	c.streams.running.Wait()
	return err
}
