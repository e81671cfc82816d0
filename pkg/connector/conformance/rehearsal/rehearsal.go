// Package rehearsal lets a caller make a connector simulate a fault of its ERP, to test the connector's error
// handling. The fault applies to one call. It is in the context and, over gRPC, in the metadata
// "tieback-rehearsal".
//
//	caller                                        connector
//	With(ctx, LostAnswer) ── Put ──▶ Interceptor ──▶ driver: Of(ctx), where it calls the ERP
//
// A connector that simulates faults says so in the header of its responses, "tieback-rehearsal: yes"; see
// Interceptor. It simulates the fault at its call to the ERP, so that the rest of the connector can't
// distinguish it from a real one. Edge does this for a connector that keeps its own books.
package rehearsal

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Header is the name of the metadata of requests and responses.
const Header = "tieback-rehearsal"

// Fault is a fault of the ERP in one call.
type Fault string

// The faults.
const (
	// Throttled: the ERP is busy and says when to retry. It did nothing.
	Throttled Fault = "throttled"
	// LostAnswer: the ERP does what it is asked, and its answer is lost.
	LostAnswer Fault = "lost-answer"
	// Slow: the ERP takes Delay for what it is asked, or gives up when the call ends.
	Slow Fault = "slow"
)

type key struct{}

// With returns a context whose calls meet a fault, in this process and over gRPC.
func With(ctx context.Context, f Fault) context.Context {
	return metadata.AppendToOutgoingContext(context.WithValue(ctx, key{}, f), Header, string(f))
}

// Of returns the fault that a call is to meet, or "" for none.
func Of(ctx context.Context) Fault {
	f, _ := ctx.Value(key{}).(Fault)
	return f
}

// Interceptor passes the fault of a gRPC call to the drivers and announces that they simulate faults. Use it
// only for a connector whose driver calls Of, and never with real books.
func Interceptor(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	_ = grpc.SetHeader(ctx, metadata.Pairs(Header, "yes")) // fails if the call has ended
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		if asked := md.Get(Header); len(asked) > 0 {
			ctx = context.WithValue(ctx, key{}, Fault(asked[0]))
		}
	}
	return handler(ctx, req)
}
