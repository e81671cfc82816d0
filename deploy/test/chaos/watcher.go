package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
)

// watcher reads the pipeline's own streams, over no link that fails, and reports to the sandbox what Procore can't see of
// requests without request details: that they were closed or dead-lettered.
type watcher struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	done sync.WaitGroup
	stop context.CancelFunc

	mu     sync.Mutex
	closed map[int64]int // messages that say so, by request
	dead   map[int64]int
}

func listen(ctx context.Context, cl *cluster) (*watcher, error) {
	var urls []string
	for _, n := range cl.nodes {
		urls = append(urls, "nats://"+n.client)
	}
	var who nats.Option = func(*nats.Options) error { return nil }
	if cl.keys != "" {
		who = nats.UserInfo("chaos", "chaos")
	}
	nc, err := nats.Connect(strings.Join(urls, ","), who, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.RetryOnFailedConnect(true),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	e := &watcher{nc: nc, js: js, closed: map[int64]int{}, dead: map[int64]int{}}
	ctx, e.stop = context.WithCancel(ctx)
	e.done.Go(func() {
		e.follow(ctx, bus.Closed.Stream(), func(s bus.Subject) { e.note(e.closed, s); cl.sandbox.ReportClosed(s.Request) })
	})
	e.done.Go(func() {
		e.follow(ctx, bus.Dead.Stream(), func(s bus.Subject) { e.note(e.dead, s); cl.sandbox.ReportDeadLettered(s.Request) })
	})
	return e, nil
}

func (e *watcher) note(in map[int64]int, s bus.Subject) {
	e.mu.Lock()
	in[s.Request]++
	e.mu.Unlock()
}

func (e *watcher) heard(in map[int64]int, request int64) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return in[request]
}

// follow reads a stream from its start, each message once, also across restarts of the broker.
func (e *watcher) follow(ctx context.Context, stream string, heard func(bus.Subject)) {
	last := uint64(0)
	for ctx.Err() == nil {
		last = e.read(ctx, stream, last, heard)
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// read reads the messages after the sequence last and returns the last sequence that it read.
func (e *watcher) read(ctx context.Context, stream string, last uint64, heard func(bus.Subject)) uint64 {
	limited, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := e.js.Stream(limited, stream)
	if err != nil {
		return last
	}
	for last < s.CachedInfo().State.LastSeq {
		m, err := s.GetMsg(limited, last+1)
		if err != nil { // a replica that lags has no such message yet; nothing is ever deleted
			return last
		}
		if subject, err := bus.Parse(m.Subject); err == nil {
			heard(subject)
		}
		last++
	}
	return last
}

// subjects counts the messages of a kind by subject.
func (e *watcher) subjects(ctx context.Context, k bus.Kind, filter string) (map[string]uint64, error) {
	s, err := e.js.Stream(ctx, k.Stream())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", k.Stream(), err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", k.Stream(), err)
	}
	return info.State.Subjects, nil
}

func (e *watcher) close() {
	e.stop()
	e.done.Wait()
	e.nc.Close()
}
