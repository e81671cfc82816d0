package remote

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// outcome is what the client knows of a failed call.
type outcome struct {
	write  bool
	sent   bool  // the request may have reached the connector
	caller error // the error of the caller's context, if it ended
}

// classOf returns the class of a status:
//
//	INVALID_ARGUMENT, FAILED_PRECONDITION, NOT_FOUND, UNIMPLEMENTED   permanent
//	RESOURCE_EXHAUSTED with a Problem                                 throttled
//	RESOURCE_EXHAUSTED without one: from gRPC, a message too large    permanent
//	ABORTED                                                           transient: nothing happened
//	UNAUTHENTICATED, PERMISSION_DENIED: refused before the driver     transient: nothing happened
//	INTERNAL of a request that was not sent: text that is not UTF-8   permanent
//	any other, of a read or a request that was not sent               transient
//	any other, of a write                                             ambiguous
func classOf(code codes.Code, problem bool, o outcome) fault.Class {
	switch code {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.NotFound, codes.Unimplemented:
		return fault.Permanent
	case codes.ResourceExhausted:
		if problem {
			return fault.Throttled
		}
		return fault.Permanent
	case codes.Aborted, codes.Unauthenticated, codes.PermissionDenied:
		return fault.Transient
	}
	switch {
	case !o.sent && code == codes.Internal:
		return fault.Permanent
	case !o.sent || !o.write:
		return fault.Transient
	}
	return fault.Ambiguous
}

// reasons maps the codes that say more than their class. A connector whose ERP is unreachable also returns
// UNAVAILABLE.
var reasons = map[codes.Code]fault.Reason{
	codes.Unavailable: fault.NoAnswer, codes.DeadlineExceeded: fault.NoAnswer, codes.Unauthenticated: fault.Denied, codes.PermissionDenied: fault.Denied,
}

const (
	// defaultWait is the wait if a busy connector did not give one.
	defaultWait = time.Second
	// maxWait is longer than any wait of the pipeline: the bus retries earlier.
	maxWait = 24 * time.Hour
)

// classed returns the error of a call with its class, without the token.
func (c *client) classed(err error, o outcome) error {
	s := status.Convert(err)
	p := problemOf(s)
	e := &fault.Error{Class: classOf(s.Code(), p != nil, o), Reason: reasons[s.Code()], Field: c.clean(p.GetField()), UserMessage: c.clean(p.GetUserMessage())}
	if e.Class == fault.Throttled {
		ms := min(max(p.GetRetryAfterMs(), 0), maxWait.Milliseconds()) // else the product may be negative
		e.RetryAfter = cmp.Or(time.Duration(ms)*time.Millisecond, defaultWait)
	}
	e.Err = c.describe(s, o.caller)
	return e
}

// describe returns the status as an error for the operator.
func (c *client) describe(s *status.Status, caller error) error {
	said := c.clean(s.Message())
	switch {
	case caller != nil && (s.Code() == codes.Canceled || s.Code() == codes.DeadlineExceeded):
		return fmt.Errorf("connector at %s: %s: %w", c.address, said, caller)
	case s.Code() == codes.DeadlineExceeded:
		return fmt.Errorf("connector at %s: %s: %w", c.address, said, context.DeadlineExceeded)
	case s.Code() != codes.Unauthenticated && s.Code() != codes.PermissionDenied:
		return fmt.Errorf("connector at %s: %s: %s", c.address, s.Code(), said)
	case c.token == "":
		return fmt.Errorf("connector at %s requires a token, and connector.token is not set: %s", c.address, said)
	}
	return fmt.Errorf("connector at %s refuses our token: %s", c.address, said)
}

// clean sanitizes a text of the connector, and removes the token, which the connector may echo.
func (c *client) clean(s string) string { return fault.Text(s, c.token) }

func problemOf(s *status.Status) *tiebackv1.Problem {
	for _, d := range s.Details() {
		if p, ok := d.(*tiebackv1.Problem); ok {
			return p
		}
	}
	return nil
}

// sentHandler records whether the request of a call was passed to the network. A status can't tell:
// UNAVAILABLE is both a refused connection and one that broke before the answer. The event is delivered on
// the caller's goroutine, once the whole request is in the connection's queue; a connector ignores an
// incomplete request.
type sentHandler struct{}

type sentKey struct{}

// withSent returns a context whose call sets sent when its request may have reached the connector.
func withSent(ctx context.Context) (context.Context, *atomic.Bool) {
	sent := new(atomic.Bool)
	return context.WithValue(ctx, sentKey{}, sent), sent
}

// sentOf returns the flag of a context of withSent, or nil.
func sentOf(ctx context.Context) *atomic.Bool {
	sent, _ := ctx.Value(sentKey{}).(*atomic.Bool)
	return sent
}

func (sentHandler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); !ok {
		return
	}
	if sent := sentOf(ctx); sent != nil {
		sent.Store(true)
	}
}

func (sentHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (sentHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sentHandler) HandleConn(context.Context, stats.ConnStats)                       {}
