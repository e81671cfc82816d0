package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

const (
	lookEvery = time.Second
	// roomNeeded is what the disk must take before the broker is started again: one message of the largest size.
	roomNeeded = 8 << 20
	// restarts is how many may follow each other, each within settled of the one before, until Keep gives up.
	restarts = 5
	settled  = time.Minute
)

// Keep restarts the broker when it can no longer write, until ctx ends: a stream whose write failed once, as the
// disk was full, takes nothing more until the server is restarted. What the broker had acknowledged is synced,
// and is there afterwards. Clients reconnect.
//
//	the disk is full, or refuses to be written    wait until it takes 8 MiB, then restart
//	it takes them                                 restart
//	the broker fails again within a minute, six times in a row    an error: the process should end
func (s *Server) Keep(ctx context.Context, log *zap.Logger) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var last time.Time
	for tries := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		why := s.Writes()
		if why == nil {
			continue
		}
		if tries++; time.Since(last) > settled {
			tries = 1
		}
		if tries > restarts {
			return fmt.Errorf("%w, also after %d restarts: check the disk of %s", why, restarts, s.dir)
		}
		log.Error("the embedded broker can't write: nothing new is taken until the disk has room", zap.String("folder", s.dir), zap.Error(why))
		if !s.waitForRoom(ctx, tick.C) {
			return nil
		}
		if err := s.restart(); err != nil {
			log.Error("the embedded broker could not be restarted", zap.String("folder", s.dir), zap.Error(err))
		} else {
			log.Warn("the embedded broker was restarted, as the disk has room again", zap.String("folder", s.dir))
		}
		last = time.Now()
	}
}

// Writes gives an error while the broker can't write.
func (s *Server) Writes() error {
	ns := s.running()
	switch {
	case ns == nil:
		return errors.New("the embedded broker does not run")
	case !ns.JetStreamEnabled():
		return errors.New("the embedded broker has turned its streams off: is its disk full?")
	}
	for _, e := range ns.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if strings.Contains(e.Error, "write error") { // others are for those who look after the streams
			return fmt.Errorf("the embedded broker can't write: %s", e.Error)
		}
	}
	return nil
}

// waitForRoom is false where ctx ends first.
func (s *Server) waitForRoom(ctx context.Context, tick <-chan time.Time) bool {
	for s.room() != nil {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
		}
	}
	return true
}

// room writes a file of the size that must be free, and removes it. So a quota counts too, and an error of the disk.
func (s *Server) room() error {
	path := filepath.Join(s.dir, "room")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, roomNeeded))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(path))
}

func (s *Server) restart() error {
	s.shutdown()
	ns, err := start(s.dir, s.log)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ns = ns
	return nil
}
