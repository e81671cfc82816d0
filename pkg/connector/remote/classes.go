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

// outcome is what this side knows of a call that failed.
type outcome struct {
	write  bool
	sent   bool  // the request may have reached the connector
	caller error // why the caller went away, if he did
}

// classOf says what a status means:
//
//	INVALID_ARGUMENT, FAILED_PRECONDITION, NOT_FOUND, UNIMPLEMENTED   permanent
//	RESOURCE_EXHAUSTED with a Problem                                 throttled
//	RESOURCE_EXHAUSTED without: gRPC's own, a message too large       permanent
//	ABORTED                                                           transient: nothing happened
//	UNAUTHENTICATED, PERMISSION_DENIED: at the door, of the operator  transient: nothing happened
//	INTERNAL of what was never sent: a text that is not UTF-8         permanent
//	any other, of a read or of what was never sent                    transient
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

// reasons of the codes that say more than their class. A connector whose ERP is away says UNAVAILABLE too.
var reasons = map[codes.Code]fault.Reason{
	codes.Unavailable: fault.NoAnswer, codes.DeadlineExceeded: fault.NoAnswer, codes.Unauthenticated: fault.Denied, codes.PermissionDenied: fault.Denied,
}

const (
	// waitDefault is how long a connector that is busy and doesn't say until when is left alone.
	waitDefault = time.Second
	// waitMost is more than anybody waits for: the bus asks again earlier.
	waitMost = 24 * time.Hour
)

// classed turns the error of a call into one of a class, without the token.
func (c *client) classed(err error, o outcome) error {
	s := status.Convert(err)
	p := problemOf(s)
	e := &fault.Error{Class: classOf(s.Code(), p != nil, o), Reason: reasons[s.Code()], Field: c.clean(p.GetField()), UserMessage: c.clean(p.GetUserMessage())}
	if e.Class == fault.Throttled {
		ms := min(max(p.GetRetryAfterMs(), 0), waitMost.Milliseconds()) // else the product may be negative
		e.RetryAfter = cmp.Or(time.Duration(ms)*time.Millisecond, waitDefault)
	}
	e.Err = c.told(s, o.caller)
	return e
}

// told is the status in words for the operator.
func (c *client) told(s *status.Status, caller error) error {
	said := c.clean(s.Message())
	switch {
	case caller != nil && (s.Code() == codes.Canceled || s.Code() == codes.DeadlineExceeded):
		return fmt.Errorf("connector at %s: %s: %w", c.address, said, caller)
	case s.Code() == codes.DeadlineExceeded:
		return fmt.Errorf("connector at %s: %s: %w", c.address, said, context.DeadlineExceeded)
	case s.Code() != codes.Unauthenticated && s.Code() != codes.PermissionDenied:
		return fmt.Errorf("connector at %s: %s: %s", c.address, s.Code(), said)
	case c.token == "":
		return fmt.Errorf("connector at %s wants a token and connector.token is not set: %s", c.address, said)
	}
	return fmt.Errorf("connector at %s refuses our token: %s", c.address, said)
}

// clean makes what a connector says fit, and takes the token out of it, which it may echo.
func (c *client) clean(s string) string { return fault.Text(s, c.token) }

func problemOf(s *status.Status) *tiebackv1.Problem {
	for _, d := range s.Details() {
		if p, ok := d.(*tiebackv1.Problem); ok {
			return p
		}
	}
	return nil
}

// witness notes whether a call's request was handed to the network. A status can't tell:
// UNAVAILABLE is both a refused connection and one that broke before the answer. The event
// comes on the caller's goroutine, once the whole request is in the connection's queue; a
// connector has no use for less than the whole.
type witness struct{}

type sentKey struct{}

func watched(ctx context.Context) (context.Context, *atomic.Bool) {
	sent := new(atomic.Bool)
	return context.WithValue(ctx, sentKey{}, sent), sent
}

func (witness) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); !ok {
		return
	}
	if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
		sent.Store(true)
	}
}

func (witness) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (witness) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (witness) HandleConn(context.Context, stats.ConnStats)                       {}
