package remote

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"runtime/debug"
	"strings"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// guard authenticates callers of the connector. It keeps only hashes of the tokens.
type guard struct {
	tokens    [][sha256.Size]byte
	certified bool // a verified client certificate is required
}

func newGuard(tokens []string, certified bool) (*guard, error) {
	g := &guard{certified: certified}
	for i, t := range tokens {
		if err := validToken(t); err != nil {
			return nil, fmt.Errorf("token %d of %d %w", i+1, len(tokens), err)
		}
		g.tokens = append(g.tokens, sha256.Sum256([]byte(t)))
	}
	return g, nil
}

// admit is the interceptor of calls.
func (g *guard) admit(ctx context.Context, q any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := g.check(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, q)
}

// admitStream is the interceptor of streams.
func (g *guard) admitStream(s any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := g.check(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(s, stream)
}

// check refuses a caller that is not authenticated. The health service needs no authentication.
func (g *guard) check(ctx context.Context, method string) error {
	switch {
	case !strings.HasPrefix(method, "/"+tiebackv1.ConnectorService_ServiceDesc.ServiceName+"/"):
		return nil
	case g.certified && !hasCertificate(ctx):
		return status.Error(codes.Unauthenticated, "a client certificate is required")
	case len(g.tokens) > 0 && !g.knows(ctx):
		return status.Error(codes.Unauthenticated, "the token is missing or wrong")
	}
	return nil
}

// knows reports whether the call has one of the tokens. It compares with every token, in constant time.
func (g *guard) knows(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	sent := md.Get("authorization")
	if len(sent) != 1 {
		return false
	}
	scheme, token, _ := strings.Cut(sent[0], " ")
	hash := sha256.Sum256([]byte(token))
	ok := 0
	for _, t := range g.tokens {
		ok |= subtle.ConstantTimeCompare(hash[:], t[:])
	}
	return ok == 1 && strings.EqualFold(scheme, "Bearer")
}

func hasCertificate(ctx context.Context) bool {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	return ok && len(info.State.VerifiedChains) > 0
}

// recovered turns a driver's panic into INTERNAL, which is ambiguous for a write. The panic value is logged
// here and not returned, as it may contain anything.
func recovered(log *zap.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, q any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (a any, err error) {
		defer func() {
			if p := recover(); p != nil {
				log.Error("driver panicked", zap.String("method", info.FullMethod), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
				a, err = nil, status.Error(codes.Internal, "the connector's driver panicked; its log says where")
			}
		}()
		return next(ctx, q)
	}
}
