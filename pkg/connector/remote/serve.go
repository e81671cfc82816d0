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
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// defaultGrace is how long calls in flight may take to complete after Serve is stopped.
const defaultGrace = 10 * time.Second

// ServerConfig configures Serve.
type ServerConfig struct {
	Listener net.Listener // Serve closes it
	Resolve  Resolver
	Tokens   []string // one, or two during a rotation; none: anyone who reaches the address may call
	TLSCert  string   // path of a PEM file, read for each connection; "": plaintext
	TLSKey   string   // path of its private key
	ClientCA string   // path of a PEM file: clients need a certificate from it; "": no client certificate is needed
	// Rehearsal lets callers request failures to test how they are handled: the fault is in the context of
	// the call, and the driver calls rehearsal.Of, or is wrapped in rehearsal.Edge, which does. Do not use it
	// with real books.
	Rehearsal bool
	Grace     time.Duration // time for calls in flight to complete when ctx ends; 0: 10 s
	Log       *zap.Logger   // nil: none
}

// Serve serves the contract, and gRPC's health service, which needs no authentication, until ctx ends. Then
// calls in flight have the grace period to complete; the others are canceled. Serve does not wait for a
// driver that ignores its context. It returns an error at once if the config is invalid.
func Serve(ctx context.Context, c ServerConfig) error {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	opts, err := c.options()
	if err != nil {
		return errors.Join(err, c.Listener.Close())
	}
	s := grpc.NewServer(opts...)
	tiebackv1.RegisterConnectorServiceServer(s, newServer(c.Resolve, c.interceptors(), ctx.Done()))
	up := health.NewServer()
	grpc_health_v1.RegisterHealthServer(s, up)
	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		up.Shutdown()
		stop(s, cmp.Or(c.Grace, defaultGrace))
	})
	err = s.Serve(c.Listener)
	if cancel() { // it ended by itself: the listener failed
		s.Stop()
		return err
	}
	<-stopped
	return nil
}

// stop lets calls in flight complete within the grace period.
func stop(s *grpc.Server, grace time.Duration) {
	ended := make(chan struct{})
	go func() { // takes as long as the slowest driver
		defer close(ended)
		s.GracefulStop()
	}()
	select {
	case <-ended:
	case <-time.After(grace):
		s.Stop()
	}
}

// interceptors are those of a call that is admitted, and of a record of a stream.
func (c ServerConfig) interceptors() []grpc.UnaryServerInterceptor {
	if c.Rehearsal {
		return []grpc.UnaryServerInterceptor{rehearsal.Interceptor, recovered(c.Log)}
	}
	return []grpc.UnaryServerInterceptor{recovered(c.Log)}
}

func (c ServerConfig) options() ([]grpc.ServerOption, error) {
	guard, err := newGuard(c.Tokens, c.ClientCA != "")
	if err != nil {
		return nil, err
	}
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.ChainUnaryInterceptor(append([]grpc.UnaryServerInterceptor{guard.admit}, c.interceptors()...)...),
		grpc.StreamInterceptor(guard.admitStream),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
	if c.TLSCert == "" && c.TLSKey == "" {
		if c.ClientCA != "" {
			return nil, errors.New("ClientCA requires TLSCert and TLSKey")
		}
		return opts, nil
	}
	secure, err := c.tls()
	if err != nil {
		return nil, err
	}
	return append(opts, grpc.Creds(credentials.NewTLS(secure))), nil
}

// tls reads the certificate for each connection, so that a renewed one needs no restart. A client certificate
// is verified if there is one. guard requires it, except for the health service.
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
		return nil, fmt.Errorf("client CA: %w", err)
	}
	out.ClientCAs, out.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
	if !out.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("client CA: %s has no PEM certificate", c.ClientCA)
	}
	return out, nil
}
