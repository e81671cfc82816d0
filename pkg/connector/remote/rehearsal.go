package remote

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// A connector that rehearses says "tieback-rehearsal: yes" in the header of its capabilities,
// and fails as the header of the same name of a call asks, so that anyone can see what
// becomes of such failures:
//
//	throttled      nothing is done; RESOURCE_EXHAUSTED, again after 1.5 s
//	lost-answer    all is done; UNAVAILABLE, as if the line broke then
const rehearsalHeader = "tieback-rehearsal"

// What a call can ask a rehearsing connector for.
const (
	RehearseThrottled  = "throttled"
	RehearseLostAnswer = "lost-answer"
)

const rehearsedWaitMs = 1500

// Rehearse gives a context whose calls ask the connector for a failure.
func Rehearse(ctx context.Context, failure string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, rehearsalHeader, failure)
}

func rehearse(ctx context.Context, q any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if info.FullMethod == tiebackv1.ConnectorService_Capabilities_FullMethodName {
		_ = grpc.SetHeader(ctx, metadata.Pairs(rehearsalHeader, "yes")) // fails where headers are out: never here
	}
	md, _ := metadata.FromIncomingContext(ctx)
	asked := md.Get(rehearsalHeader)
	if len(asked) == 0 {
		return next(ctx, q)
	}
	switch asked[0] {
	case RehearseThrottled:
		return nil, problem(codes.ResourceExhausted, "rehearsed: busy", &tiebackv1.Problem{RetryAfterMs: rehearsedWaitMs})
	case RehearseLostAnswer:
		_, _ = next(ctx, q)
		return nil, status.Error(codes.Unavailable, "rehearsed: the answer was lost")
	}
	return nil, status.Errorf(codes.InvalidArgument, "%s: one of %s, %s", rehearsalHeader, RehearseThrottled, RehearseLostAnswer)
}
