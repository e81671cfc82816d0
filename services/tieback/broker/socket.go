package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"
)

// Socket returns the path of the socket at which the embedded broker of a data folder serves other processes.
func Socket(data string) string { return filepath.Join(data, "broker.sock") }

// ListenLocal serves clients at a socket that only the user of this process may open, until ctx ends. A socket that a killed
// process left is replaced.
func (s *Server) ListenLocal(ctx context.Context, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("socket of the embedded broker: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		return fmt.Errorf("socket of the embedded broker: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		client, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		} else if err != nil {
			return fmt.Errorf("socket of the embedded broker: %w", err)
		}
		server, err := s.InProcessConn()
		if err != nil { // the broker is being restarted
			_ = client.Close()
			continue
		}
		go join(ctx, client, server)
	}
}

// join copies bytes between two connections until one ends or ctx does, and closes both.
func join(ctx context.Context, a, b net.Conn) {
	ended := make(chan struct{}, 2)
	pipe := func(to, from net.Conn) { _, _ = io.Copy(to, from); ended <- struct{}{} }
	go pipe(a, b)
	go pipe(b, a)
	select {
	case <-ended:
	case <-ctx.Done():
	}
	_, _ = a.Close(), b.Close()
}

// Local returns the option by which a client of another process connects to ListenLocal.
func Local(path string) nats.Option { return nats.SetCustomDialer(dialer(path)) }

type dialer string

// Dial implements nats.CustomDialer.
func (d dialer) Dial(string, string) (net.Conn, error) { return net.Dial("unix", string(d)) }
