// Package rehearsal lets a caller ask a connector to meet a fault of its ERP on purpose, so
// that its error handling can be seen: the fault travels with one call, in the context and,
// over gRPC, in the metadata "tieback-rehearsal".
//
//	caller                                        connector
//	With(ctx, LostAnswer) ── Put ──▶ Interceptor ──▶ driver: Of(ctx), where it talks to the ERP
//
// A connector that rehearses says so in the header of its answers, "tieback-rehearsal: yes";
// see Interceptor. It simulates the fault where it talks to its ERP, so that the rest of it
// can't tell it from a real one; Edge does so for one that keeps its books itself.
package rehearsal

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Header is the name of the metadata, of calls and of answers.
const Header = "tieback-rehearsal"

// Fault is what the ERP does to one call.
type Fault string

// The faults.
const (
	// Throttled: the ERP says that it is busy and when to come again; it did nothing.
	Throttled Fault = "throttled"
	// LostAnswer: the ERP does what it is asked, and the answer is lost on the way.
	LostAnswer Fault = "lost-answer"
)

type key struct{}

// With makes calls under the context meet a fault, in this process and over gRPC.
func With(ctx context.Context, f Fault) context.Context {
	return metadata.AppendToOutgoingContext(context.WithValue(ctx, key{}, f), Header, string(f))
}

// Of is the fault that a call is to meet; "": none.
func Of(ctx context.Context) Fault {
	f, _ := ctx.Value(key{}).(Fault)
	return f
}

// Interceptor hands the fault of a gRPC call to the drivers behind it and says that they
// rehearse. Only for a connector whose driver asks Of, and never where real books are kept.
func Interceptor(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	_ = grpc.SetHeader(ctx, metadata.Pairs(Header, "yes")) // fails where the call has ended already
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		if asked := md.Get(Header); len(asked) > 0 {
			ctx = context.WithValue(ctx, key{}, Fault(asked[0]))
		}
	}
	return handler(ctx, req)
}
