package conformance

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/remote"
)

// server serves the streams of an erp, always at the same address.
type server struct {
	t       testing.TB
	erp     *erp
	address string

	mu   sync.Mutex
	stop func()
}

// streamed returns the target of an erp that offers streams.
func (e *erp) streamed(t testing.TB) Target {
	s := &server{t: t, erp: e, address: "127.0.0.1:0"}
	e.server = s
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop() })
	target := e.target()
	target.Stream, target.Stop = s.open, s.restart
	return target
}

func (s *server) start() error {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- remote.Serve(ctx, remote.ServerConfig{Listener: l, Rehearsal: true, Resolve: func(ctx context.Context, _ int64) (connector.Driver, error) {
			return s.erp.open(ctx)
		}})
	}()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("serve: %v", err)
		}
	}
	return nil
}

// restart is the Stop hook.
func (s *server) restart(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
	return s.start()
}

// open is the Stream hook.
func (s *server) open(ctx context.Context) (PutStream, error) {
	w, err := remote.OpenPutStream(ctx, map[string]string{"address": s.address, "tls": "off"})
	if err != nil || s.erp.flaw.stream == nil {
		return w, err
	}
	return s.erp.flaw.stream(w, s.erp), nil
}
