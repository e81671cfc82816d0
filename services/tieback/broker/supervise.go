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
	checkInterval = time.Second
	spaceNeeded   = 8 << 20 // bytes that must be free before a restart: one message of the largest size
	maxRestarts   = 5       // in succession, each within stableAfter of the one before
	stableAfter   = time.Minute
)

// Supervise restarts the broker when it can no longer write, until ctx ends. A stream whose write failed once, because the disk
// was full, accepts no message until the server is restarted. Acknowledged messages are synced and survive the restart. Clients
// reconnect.
//
//	the disk is full or not writable                            wait until 8 MiB can be written, then restart
//	the disk is writable                                        restart
//	the sixth failure in a row, each within a minute            return an error: the process should end
func (s *Server) Supervise(ctx context.Context, log *zap.Logger) error {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	var last time.Time
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		why := s.Writable()
		if why == nil {
			continue
		}
		if failures++; time.Since(last) > stableAfter {
			failures = 1
		}
		if failures > maxRestarts {
			return fmt.Errorf("%w, also after %d restarts: check the disk of %s", why, maxRestarts, s.dir)
		}
		log.Error("the embedded broker can't write and accepts no message until there is space: free space on its disk", zap.String("directory", s.dir), zap.Error(why))
		if !s.waitForSpace(ctx, tick.C) {
			return nil
		}
		if err := s.restart(); err != nil {
			log.Error("the embedded broker could not be restarted", zap.String("directory", s.dir), zap.Error(err))
		} else {
			log.Warn("the embedded broker was restarted, as its disk is writable again", zap.String("directory", s.dir))
		}
		last = time.Now()
	}
}

// Writable returns an error while the broker can't write.
func (s *Server) Writable() error {
	ns := s.running()
	switch {
	case ns == nil:
		return errNotRunning
	case !ns.JetStreamEnabled():
		return errors.New("the embedded broker has disabled its streams: check whether its disk is full")
	}
	for _, e := range ns.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if strings.Contains(e.Error, "write error") { // other errors do not need a restart
			return fmt.Errorf("the embedded broker can't write: %s", e.Error)
		}
	}
	return nil
}

// waitForSpace waits until there is space. It returns false if ctx ends first.
func (s *Server) waitForSpace(ctx context.Context, tick <-chan time.Time) bool {
	for s.checkSpace() != nil {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
		}
	}
	return true
}

// checkSpace writes a file of spaceNeeded bytes and removes it. Unlike a query of the free space, it also detects a quota and
// disk errors.
func (s *Server) checkSpace() error {
	path := filepath.Join(s.dir, "space")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, spaceNeeded))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(path))
}

func (s *Server) restart() error {
	s.shutdown()
	ns, err := start(s.dir, s.log, s.how)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ns = ns
	return nil
}
