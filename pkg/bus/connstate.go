package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// ErrRecovering is returned if the broker is or was reachable but does not serve its streams: it is recovering them after a
// restart, which takes minutes for millions of messages, or electing a leader. The settings are correct; the caller should
// wait.
var ErrRecovering = errors.New("the broker is recovering its streams")

// errUnreachable is the reason during the first attempt to connect.
var errUnreachable = errors.New("it can't be reached: is it running, and is TIEBACK_NATS_URL correct?")

// remindEvery is the time between two log lines that give the same reason for waiting.
const remindEvery = 30 * time.Second

// connState is the state of the connection to the broker. The zero value is that of a client that never connected.
type connState struct {
	lost   chan struct{}   // capacity 1; signals a lost connection
	onLost func()          // called for each lost connection
	onWait func(why error) // Options.Waiting; may be nil

	mu              sync.Mutex
	connectedBefore bool  // the broker has accepted this client before
	dialErr         error // why the last attempt to connect failed; nil: no attempt has failed since the last connection
	reason          error // why the broker does not serve its streams; nil: no reason is known
}

// options returns the handlers that update the state.
func (s *connState) options() []nats.Option {
	return []nats.Option{
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.dialErr = err
		}),
		nats.DisconnectErrHandler(func(*nats.Conn, error) {
			s.onLost()
			select {
			case s.lost <- struct{}{}:
			default:
			}
		}),
	}
}

// set records why the broker does not serve its streams; nil: it answered.
func (s *connState) set(reason error) {
	s.mu.Lock()
	if s.reason = reason; reason == nil {
		s.connectedBefore, s.dialErr = true, nil
	}
	s.mu.Unlock()
	if s.onWait != nil && reason != nil {
		s.onWait(reason)
	}
}

func (s *connState) unavailable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// watch waits after each lost connection until JetStream answers again. It returns when ctx ends.
func (b *Bus) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.conn.lost:
		}
		_ = b.wait(ctx, func(ctx context.Context) error { _, err := b.js.AccountInfo(ctx); return err })
	}
}

// wait calls probe until it succeeds or ctx ends. It logs the reason for waiting when it changes, and every 30 seconds. The
// error is ErrRecovering unless the settings or the address may be wrong.
func (b *Bus) wait(ctx context.Context, probe func(context.Context) error) error {
	began, logged, loggedAt := time.Now(), "", time.Time{}
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := probe(try)
		cancel()
		if err == nil {
			b.conn.set(nil)
			if logged != "" {
				b.log.Info("the broker answers", zap.Duration("waited", time.Since(began).Round(time.Second)))
			}
			return nil
		}
		why := b.unavailableReason(err)
		b.conn.set(why)
		if ctx.Err() != nil {
			return fmt.Errorf("no answer from the broker: %w", why)
		}
		if why != errUnreachable && (why.Error() != logged || time.Since(loggedAt) > remindEvery) {
			logged, loggedAt = why.Error(), time.Now()
			b.log.Warn("waiting for the broker", zap.Duration("waited", time.Since(began).Round(time.Second)), zap.Error(why))
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// unavailableReason returns why a request to the broker failed with err, and what to do.
func (b *Bus) unavailableReason(err error) error {
	connected, last := b.nc.IsConnected(), b.nc.LastError()
	b.conn.mu.Lock()
	defer b.conn.mu.Unlock()
	if connected {
		b.conn.connectedBefore, b.conn.dialErr = true, nil
	}
	var op *net.OpError
	var dns *net.DNSError
	switch last = cmp.Or(last, b.conn.dialErr); {
	case errors.Is(last, nats.ErrAuthorization) || errors.Is(last, nats.ErrAuthExpired) || errors.Is(last, nats.ErrAuthRevoked):
		return fmt.Errorf("the broker refuses the login: correct TIEBACK_NATS_NKEY_FILE, or give the broker the users.conf that lists this key: %w", last)
	case errors.Is(last, nats.ErrPermissionViolation):
		return fmt.Errorf("the broker refuses a request of this key: correct TIEBACK_NATS_NKEY_FILE, or give the broker the users.conf of this version: %w", last)
	case connected && errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w, or its users.conf gives this key no access to JetStream: %w", ErrRecovering, err)
	case connected:
		return fmt.Errorf("%w: the connection is established, but JetStream does not answer; if this persists, read the broker's log: %w", ErrRecovering, err)
	case b.conn.connectedBefore:
		return fmt.Errorf("%w, or is stopped: it was connected before and can't be reached now: %w", ErrRecovering, cmp.Or(last, err))
	case errors.As(last, &dns):
		return fmt.Errorf("the host name in TIEBACK_NATS_URL is not known: correct it, or start the broker: %w", last)
	case errors.Is(last, syscall.ECONNREFUSED):
		return fmt.Errorf("no process listens at the address in TIEBACK_NATS_URL: start the broker or correct the address; "+
			"after a restart the broker listens once it has recovered its streams, which can take minutes: %w", last)
	case errors.As(last, &op) && op.Op != "dial" && op.Timeout() || errors.Is(last, io.EOF) || errors.Is(last, syscall.ECONNRESET):
		return fmt.Errorf("%w: the connection is accepted, but no NATS server answers yet: %w", ErrRecovering, last)
	case last == nil:
		return errUnreachable
	}
	return fmt.Errorf("it can't be reached: is it running, and are TIEBACK_NATS_URL and TIEBACK_NATS_CA_FILE correct? (%w)", last)
}
