package remote

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// The class of each code is that of connector.proto, for a connector in any language.
func TestClassOfEachStatus(t *testing.T) {
	const p, th, tr, am = fault.Permanent, fault.Throttled, fault.Transient, fault.Ambiguous
	for code, want := range map[codes.Code]struct{ read, write, unsent fault.Class }{
		codes.InvalidArgument:    {p, p, p},
		codes.FailedPrecondition: {p, p, p},
		codes.NotFound:           {p, p, p},
		codes.Unimplemented:      {p, p, p},
		codes.ResourceExhausted:  {th, th, th},
		codes.Aborted:            {tr, tr, tr},
		codes.Unauthenticated:    {tr, tr, tr},
		codes.PermissionDenied:   {tr, tr, tr},
		codes.Canceled:           {tr, am, tr},
		codes.Unknown:            {tr, am, tr},
		codes.DeadlineExceeded:   {tr, am, tr},
		codes.AlreadyExists:      {tr, am, tr},
		codes.OutOfRange:         {tr, am, tr},
		codes.Internal:           {tr, am, p},
		codes.Unavailable:        {tr, am, tr},
		codes.DataLoss:           {tr, am, tr},
		99:                       {tr, am, tr},
	} {
		t.Run(code.String(), func(t *testing.T) {
			if got := classOf(code, true, outcome{sent: true}); got != want.read {
				t.Errorf("a read is %v, want %v", got, want.read)
			}
			if got := classOf(code, true, outcome{sent: true, write: true}); got != want.write {
				t.Errorf("a write is %v, want %v", got, want.write)
			}
			if got := classOf(code, true, outcome{write: true}); got != want.unsent {
				t.Errorf("a write that was never sent is %v, want %v", got, want.unsent)
			}
		})
	}
}

// The client returns the error of the driver unchanged.
func TestErrorsCrossTheWire(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		class fault.Class
	}{
		"permanent":           {fault.Refused("code", "The job code is taken."), fault.Permanent},
		"permanent, no words": {fault.New(fault.Permanent, errors.New("no such table")), fault.Permanent},
		"transient":           {fault.New(fault.Transient, errors.New("disk is full")), fault.Transient},
		"throttled":           {fault.Wait(7*time.Second, errors.New("busy")), fault.Throttled},
		"ambiguous":           {fault.New(fault.Ambiguous, errors.New("commit failed")), fault.Ambiguous},
		"of no class":         {errors.New("a bug"), fault.Ambiguous},
		"not UTF-8":           {fault.Refused("na\xffme", "the name \xff"), fault.Permanent},
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := served(t, driver{put: func(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) { return nil, c.err }}, ServerConfig{})
			err := put(t.Context(), opened(t, address, nil))
			if fault.ClassOf(err) != c.class || fault.RetryAfter(err) != fault.RetryAfter(c.err) {
				t.Errorf("%v, after %v: %v", fault.ClassOf(err), fault.RetryAfter(err), err)
			}
			if fault.UserMessage(err, "") != utf8(fault.UserMessage(c.err, "")) || fault.Field(err) != utf8(fault.Field(c.err)) {
				t.Errorf("field %q, %q", fault.Field(err), fault.UserMessage(err, ""))
			}
			if !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), utf8(c.err.Error())) {
				t.Errorf("the operator reads %v", err)
			}
		})
	}
}

// RESOURCE_EXHAUSTED with a Problem is throttled. Without one it is from gRPC, for a message that is too large.
func TestResourceExhaustedWithAndWithoutAProblem(t *testing.T) {
	c := &client{settings: &settings{address: "erp:1"}}
	err := c.classed(problem(codes.ResourceExhausted, "busy", &tiebackv1.Problem{}), outcome{write: true, sent: true})
	if fault.ClassOf(err) != fault.Throttled || fault.RetryAfter(err) != defaultWait {
		t.Errorf("%v after %v", fault.ClassOf(err), fault.RetryAfter(err))
	}
	err = c.classed(problem(codes.ResourceExhausted, "busy", &tiebackv1.Problem{RetryAfterMs: math.MaxInt64}), outcome{write: true, sent: true})
	if fault.RetryAfter(err) != maxWait {
		t.Errorf("asked to wait too long: %v", fault.RetryAfter(err))
	}
	err = c.classed(status.Error(codes.ResourceExhausted, "message larger than max"), outcome{write: true, sent: true})
	if fault.ClassOf(err) != fault.Permanent {
		t.Errorf("%v", fault.ClassOf(err))
	}
}

// A connector that echoes the token must not bring it into the log.
func TestEchoedTokenIsRemoved(t *testing.T) {
	c := &client{settings: &settings{address: "erp:1", token: secret}}
	err := c.classed(problem(codes.Unauthenticated, "bad token "+secret, &tiebackv1.Problem{UserMessage: "Bearer " + secret}), outcome{write: true, sent: true})
	if strings.Contains(err.Error()+fault.UserMessage(err, ""), secret) || !strings.Contains(err.Error(), "refuses our token: bad token [secret]") {
		t.Errorf("%v, %q", err, fault.UserMessage(err, ""))
	}
}

// Texts of a connector reach logs, dead letters and accountants: they are cut, printable and without the token.
func TestTextsOfAConnectorAreSanitized(t *testing.T) {
	c := &client{settings: &settings{address: "erp:1", token: secret}}
	long := "no\x00: authorization: Bearer another-" + secret + " " + strings.Repeat("\u202e€", 7<<20)
	err := c.classed(problem(codes.FailedPrecondition, long, &tiebackv1.Problem{Field: long, UserMessage: long}), outcome{write: true, sent: true})
	for what, text := range map[string]string{"error": err.Error(), "message": fault.UserMessage(err, ""), "field": fault.Field(err)} {
		if len(text) > 1500 || strings.ContainsAny(text, "\x00\u202e") || strings.Contains(text, secret) || strings.Contains(text, "another") || !strings.Contains(text, "no : auth") {
			t.Errorf("%s of %d bytes: %.100q", what, len(text), text)
		}
	}
}
