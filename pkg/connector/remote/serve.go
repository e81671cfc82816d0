package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/secretfile"
)

// graceDefault is how long calls in hand may take to end once Serve is asked to.
const graceDefault = 10 * time.Second

// ServerConfig is what a connector serves, and to whom.
type ServerConfig struct {
	Listener net.Listener // Serve closes it
	Resolve  Resolver
	Tokens   []string // one, or two while rotating; none: whoever reaches the address may call
	TLSCert  string   // path of a PEM file, read anew for each connection; "": plaintext
	TLSKey   string   // path of its private key
	ClientCA string   // path of a PEM file: only clients with a certificate of it may call; "": any
	// Rehearsal lets callers ask for failures, to see what becomes of them: the fault is in the
	// context of the call, and the driver asks rehearsal.Of, or is wrapped in rehearsal.Edge, which
	// does. Never where real books are kept.
	Rehearsal bool
	Grace     time.Duration // what calls in hand have to end when Serve is to; 0: 10 s
	Log       *zap.Logger   // nil: none
}

// Serve serves the contract, and gRPC's health service, which anyone may ask, until ctx ends.
// Then calls in hand have a grace to end; those that don't are canceled, and one that does not
// mind that is left behind. A config that makes no sense is refused at once.
func Serve(ctx context.Context, c ServerConfig) error {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	opts, err := c.options()
	if err != nil {
		return errors.Join(err, c.Listener.Close())
	}
	s := grpc.NewServer(opts...)
	Register(s, c.Resolve)
	up := health.NewServer()
	grpc_health_v1.RegisterHealthServer(s, up)
	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		up.Shutdown()
		stop(s, cmp.Or(c.Grace, graceDefault))
	})
	err = s.Serve(c.Listener)
	if cancel() { // it ended by itself: the listener broke
		s.Stop()
		return err
	}
	<-stopped
	return nil
}

// stop lets calls in hand end, but not for ever.
func stop(s *grpc.Server, grace time.Duration) {
	ended := make(chan struct{})
	go func() { // as long as the slowest driver
		defer close(ended)
		s.GracefulStop()
	}()
	select {
	case <-ended:
	case <-time.After(grace):
		s.Stop()
	}
}

func (c ServerConfig) options() ([]grpc.ServerOption, error) {
	guard, err := newGuard(c.Tokens, c.ClientCA != "")
	if err != nil {
		return nil, err
	}
	chain := []grpc.UnaryServerInterceptor{guard.admit}
	if c.Rehearsal {
		chain = append(chain, rehearsal.Interceptor)
	}
	chain = append(chain, recovered(c.Log))
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.ChainUnaryInterceptor(chain...),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
	if c.TLSCert == "" && c.TLSKey == "" {
		if c.ClientCA != "" {
			return nil, errors.New("a CA of the clients needs a certificate and key of the server, too")
		}
		return opts, nil
	}
	secure, err := c.tls()
	if err != nil {
		return nil, err
	}
	return append(opts, grpc.Creds(credentials.NewTLS(secure))), nil
}

// tls reads the certificate for each connection, so that a renewed one needs no restart. A
// client's certificate is verified if there is one; guard asks for it, but not of who asks for health.
func (c ServerConfig) tls() (*tls.Config, error) {
	load := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		return &pair, err
	}
	if _, err := load(nil); err != nil {
		return nil, fmt.Errorf("TLS certificate %q with key %q: %w", c.TLSCert, c.TLSKey, err)
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: load}
	if c.ClientCA == "" {
		return out, nil
	}
	pem, err := secretfile.Read(c.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("CA of the clients: %w", err)
	}
	out.ClientCAs, out.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
	if !out.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA of the clients: %s holds no certificate in PEM", c.ClientCA)
	}
	return out, nil
}
